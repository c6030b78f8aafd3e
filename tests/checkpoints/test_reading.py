"""Odd and hostile checkpoint files: read where they are honest, refused in words where not."""

from __future__ import annotations

import argparse
import pickle
import shlex
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import edgerep
from edgerep.checkpoints.reading import read_checkpoint
from edgerep.checkpoints.torch_file import read_torch_file
from edgerep.checkpoints.unpickling import Placeholder
from edgerep.errors import CheckpointError
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

SMALL = Architecture(3, 8, (8, 16), (1, 2), (1, 1, 1, 2), squeeze=False, classes=5)
SETTINGS = argparse.Namespace(lr=0.1)  # with which torch's own reader refuses the file


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def weights() -> dict[str, Tensor]:
    return dict(random_repvgg(SMALL).state_dict())


ODDITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "sparse": lambda t: t.to_sparse(),
    "compressed rows": lambda t: t.to_sparse_csr(),
    "meta": lambda t: t.to("meta"),
    "quantised": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "nested": lambda t: torch.nested.nested_tensor([t]),
    "complex": lambda t: t.to(torch.complex64),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "uint16": lambda t: t.to(torch.uint16),
    "bool": lambda t: t > 0,
    "empty": lambda t: t[:0].clone(),
}
# torch says that some of these are in beta, others deprecated
odd_tensors = pytest.mark.filterwarnings("ignore")


@odd_tensors
@pytest.mark.parametrize("oddity", ODDITIES)
def test_tensors_that_are_no_weights_hinder_nobody(oddity: str, tmp_path: Path) -> None:
    odd = {0: ODDITIES[oddity](torch.eye(3))}
    path = saved({"model": weights(), "args": SETTINGS, "optimizer": odd}, tmp_path / "a.pth")
    found = read_checkpoint(path).tensors
    assert found.keys() == weights().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in weights().items())


@odd_tensors
@pytest.mark.parametrize("beside", [{}, {"args": SETTINGS}], ids=["plain", "settings"])
@pytest.mark.parametrize("oddity", [oddity for oddity in ODDITIES if oddity != "empty"])
def test_weights_that_are_no_plain_tensors_are_named(
    oddity: str, beside: dict[str, Any], tmp_path: Path
) -> None:
    table = weights()
    table["linear.weight"] = ODDITIES[oddity](table["linear.weight"])
    with pytest.raises(CheckpointError) as refusal:
        edgerep.load(saved({"state_dict": table, **beside}, tmp_path / "odd.pth"))
    message = str(refusal.value)
    assert "odd.pth" in message
    assert "linear.weight" in message


def test_a_classifier_of_no_classes_is_refused(tmp_path: Path) -> None:
    table = weights() | {"linear.weight": torch.zeros(0, 16), "linear.bias": torch.zeros(0)}
    with pytest.raises(CheckpointError, match=r"linear\.weight is no matrix: \[0, 16\]"):
        edgerep.load(saved(table, tmp_path / "none.pth"))


def test_a_table_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: dict[str, Any] = {}
    endless["model"] = endless
    for beside in ({}, {"args": SETTINGS}):
        with pytest.raises(CheckpointError, match="holds no table"):
            edgerep.load(saved({"model": endless, **beside}, tmp_path / "loop.pth"))


def test_that_averaged_weights_are_an_unread_object_is_said(tmp_path: Path) -> None:
    path = saved({"model": weights(), "ema": random_repvgg(SMALL)}, tmp_path / "a.pth")
    notes = read_checkpoint(path).notes
    assert any("not the averaged weights: 'ema'" in note and "RepVGG" in note for note in notes)
    plain = read_checkpoint(saved({"model": weights(), "ema": weights()}, tmp_path / "b.pth"))
    assert not any("not the averaged" in note for note in plain.notes)
    assert "weights taken from 'ema'; left aside: model" in plain.notes


def test_two_networks_told_apart_by_wrappers_alone_are_refused(tmp_path: Path) -> None:
    table = weights()
    path = saved({**table, **{f"module.{k}": v for k, v in table.items()}}, tmp_path / "both.pth")
    with pytest.raises(CheckpointError, match=r"both\.pth holds two tensors for one name"):
        edgerep.load(path)


def test_a_file_of_paddle_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    arrays = {name: tensor.numpy() for name, tensor in weights().items()}
    path = tmp_path / "RepVGG's A0.pdparams"
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    with pytest.raises(CheckpointError) as refusal:
        edgerep.load(path)
    python, option, script = shlex.split(str(refusal.value).partition("convert it: ")[2])
    assert (python, option) == ("python", "-c")
    compile(script, "the command", "exec")
    assert repr(str(path)) in script


@pytest.mark.parametrize("protocol", [2, 4])
def test_no_message_advises_to_let_a_file_run_its_code(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "arrays.pth"
    arrays = {name: tensor.numpy() for name, tensor in weights().items()}
    path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    with pytest.raises(CheckpointError) as refusal:
        edgerep.load(path)
    assert "weights_only" not in str(refusal.value)


def archive_of(stream: bytes, path: Path) -> Path:
    """What `torch.save` would write, around a pickle made by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream)
        archive.writestr("archive/version", "3\n")
    return path


KNOWN = [
    ("collections", "OrderedDict"), ("torch", "Size"), ("torch", "Tensor"),
    ("torch", "FloatStorage"), ("torch.nn.parameter", "Parameter"),
    ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_parameter"), ("torch._tensor", "_rebuild_from_type_v2"),
]  # fmt: skip
STATES: dict[str, bytes] = {  # of a BUILD, which sets attributes
    "a dict": pickle.EMPTY_DICT + b"V__call__\nV_function\n" + pickle.SETITEM,
    "slots": pickle.MARK + pickle.NONE + pickle.EMPTY_DICT + b"V_function\nV__init__\n"
    + pickle.SETITEM + pickle.TUPLE,
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", KNOWN, ids=lambda name: name[1])
def test_a_file_cannot_change_how_the_next_one_is_read(
    name: tuple[str, str], state: str, tmp_path: Path
) -> None:
    """BUILD on each thing that a file can get hold of, class or function."""
    module, attribute = name
    stream = (
        pickle.PROTO + b"\x02" + pickle.GLOBAL + f"{module}\n{attribute}\n".encode()
        + STATES[state] + pickle.BUILD + pickle.STOP
    )  # fmt: skip
    with pytest.raises(pickle.UnpicklingError):
        read_torch_file(archive_of(stream, tmp_path / "changed.pth"))
    good = saved({"model": OrderedDict(weights()), "args": SETTINGS}, tmp_path / "good.pth")
    found = read_checkpoint(good).tensors
    assert all(torch.equal(found[key], tensor) for key, tensor in weights().items())


def test_build_reaches_a_placeholder_and_does_nothing(tmp_path: Path) -> None:
    """The same stream as above is read where it names a class that was not looked up."""
    for state in STATES.values():
        stream = (
            pickle.PROTO + b"\x02" + pickle.GLOBAL + b"argparse\nNamespace\n"
            + pickle.EMPTY_TUPLE + pickle.NEWOBJ + state + pickle.BUILD + pickle.STOP
        )  # fmt: skip
        content, unread = read_torch_file(archive_of(stream, tmp_path / "inert.pth"))
        assert unread == ("argparse.Namespace",)
        assert isinstance(content, Placeholder)
        assert not hasattr(content, "_function")

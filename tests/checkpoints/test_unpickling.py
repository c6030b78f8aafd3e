"""Files that ask for code: none of it runs, and the weights of honest ones are read."""

from __future__ import annotations

import argparse
import contextlib
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import edgerep
from edgerep.errors import CheckpointError
from edgerep.networks.network import origin_of
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

SMALL = Architecture(3, 8, (8, 16), (1, 1), (1, 1, 1), squeeze=False, classes=5)


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


class Restores:
    """Pickles as an object of some class whose state is set."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __setstate__(self, state: Any) -> None:
        Path(state["path"]).write_text("run")


class Armed(Tensor):
    """A subclass of Tensor with code of its own."""

    def __setstate__(self, state: Any) -> None:
        Path("armed").write_text("run")


class CfgNode(dict[str, Any]):
    """As yacs has it: a dict with attributes."""


def save_with(extra: dict[str, Any], path: Path) -> Path:
    torch.save({"model": random_repvgg(SMALL).state_dict(), **extra}, path)
    return path


def hostile(marker: Path) -> dict[str, Any]:
    """What a file may hide beside its weights; each would write the marker."""
    code = f"__import__('pathlib').Path({str(marker)!r}).write_text('run')"
    return {
        "os.system in args": Calls(__import__("os").system, f"touch {marker}"),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "nested in a list": [1, {"a": (Calls(eval, code),)}],
        "as a key": {"k": Calls(eval, code)},
        "subprocess": Calls(__import__("subprocess").call, ["touch", str(marker)]),
        "a function of torch": Calls(torch.save, {"a": 1}, str(marker)),
        "Path.write_text": Calls(Path.write_text, marker, "run"),
        "state": Restores(marker),
        "inside an OrderedDict": OrderedDict(a=Calls(eval, code)),
    }


NAMES = sorted(hostile(Path("unused")))


@pytest.mark.parametrize("place", ["args", "config", "optimizer"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs(name: str, place: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = save_with({place: hostile(marker)[name]}, tmp_path / "hostile.pth")
    marker.unlink(missing_ok=True)
    if name in ("state", "a function of torch"):  # read inertly, and named in the notes
        edgerep.load(path)
    else:
        with pytest.raises(CheckpointError):
            edgerep.load(path)
    assert not marker.exists()


def test_the_payloads_would_run_elsewhere(tmp_path: Path) -> None:
    """Otherwise the test above could not fail."""
    for name in NAMES:
        marker = tmp_path / f"marker-{name.replace(' ', '-')}"
        content = pickle.dumps(hostile(marker)[name])
        if name == "as a key":
            continue
        with contextlib.suppress(Exception):
            pickle.loads(content)
        assert marker.exists(), name


def test_weights_among_settings_are_read_and_the_rest_is_named(tmp_path: Path) -> None:
    settings = CfgNode(TRAIN=CfgNode(LR=0.1))
    path = save_with(
        {"args": argparse.Namespace(lr=0.1, data=Path("x")), "config": settings, "epoch": 3},
        tmp_path / "official.pth",
    )
    found = edgerep.load(path)
    image = torch.randn(1, 3, 20, 20)
    assert torch.equal(found(image), random_repvgg(SMALL)(image))
    origin = origin_of(found)
    assert origin is not None
    (note,) = [note for note in origin.notes if "left unread" in note]
    assert "argparse.Namespace" in note
    assert "CfgNode" in note


def test_a_tensor_subclass_among_the_weights_is_refused(tmp_path: Path) -> None:
    table: dict[str, Any] = dict(random_repvgg(SMALL).state_dict())
    table["linear.bias"] = torch.zeros(5).as_subclass(Armed)
    torch.save(table, tmp_path / "armed.pth")
    with pytest.raises(CheckpointError, match="Armed"):
        edgerep.load(tmp_path / "armed.pth")
    assert not Path("armed").exists()


def test_a_view_that_leaves_its_bytes_is_refused(tmp_path: Path) -> None:
    path = save_with({"args": argparse.Namespace()}, tmp_path / "long.pth")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    short = next(name for name in files if "/data/" in name and len(files[name]) > 64)
    files[short] = files[short][:16]
    with zipfile.ZipFile(tmp_path / "short.pth", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="cut short"):
        edgerep.load(tmp_path / "short.pth")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    """What a small file can unpack to stays small."""
    path = save_with({"args": argparse.Namespace()}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
    with pytest.raises(CheckpointError):
        edgerep.load(tmp_path / "bomb.pth")

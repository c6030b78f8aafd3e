"""Both formats of torch.save give what torch reads of them, and no file more than its bounds."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgerep.checkpoints.reading import read_checkpoint
from edgerep.checkpoints.torch_file import read_torch_file
from edgerep.checkpoints.unpickling import Placeholder
from edgerep.errors import CheckpointError

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


def table() -> dict[str, Any]:
    """Tensors of every type, views, a shared storage, one without elements, and plain data."""
    base = torch.arange(48, dtype=torch.float32).reshape(6, 8)
    whole = {str(dtype): (torch.arange(6) - 3).to(dtype) for dtype in DTYPES}
    views = {"rows": base[2:5], "columns": base.t(), "again": base[2:5], "empty": base[:0]}
    parameter = torch.nn.Parameter(torch.ones(3))
    beside = {"epoch": 3, "lr": [0.1, 0.2], "name": "x", "shape": torch.Size([1, 2])}
    return {"model": OrderedDict(**whole, **views, parameter=parameter), **beside}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("archive", [True, False])
def test_what_torch_reads_is_what_is_read(archive: bool, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(table(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    content, unread = read_torch_file(path)
    assert equal(content, torch.load(path, weights_only=protocol == 2))  # theirs knows 2 alone
    assert unread == ()


@pytest.mark.parametrize("archive", [True, False])
def test_settings_beside_the_weights_are_left_unread(archive: bool, tmp_path: Path) -> None:
    content = {**table(), "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=archive)
    found, unread = read_torch_file(tmp_path / "a.pth")
    assert isinstance(found, dict)
    assert unread == ("argparse.Namespace",)
    assert isinstance(found.pop("args"), Placeholder)
    assert equal(found, table())


def rewritten(path: Path, target: Path, pickled: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w", method) as made:
        for entry in archive.infolist():
            content = archive.read(entry)
            made.writestr(entry.filename, pickled if entry.filename.endswith(".pkl") else content)
    return target


def saved(path: Path) -> Path:
    torch.save({"model": {"a.weight": torch.ones(4, 4)}}, path)
    return path


def pickled_in(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


def tensor_stream(size: bytes, stride: bytes, count: int = 1) -> bytes:
    """A pickle of `count` tensors of that size and stride on one storage of 16 numbers."""
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nK\x10tQ"
    one = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\x00"
        + size
        + stride
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )
    items = b"".join(b"Vw%d.weight\n" % i + one for i in range(count))
    return b"\x80\x02}(" + items + b"u."


def test_a_tensor_far_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth")
    good = rewritten(
        path, tmp_path / "good.pth", tensor_stream(b"K\x04K\x04\x86", b"K\x04K\x01\x86")
    )
    assert list(read_checkpoint(good).tensors) == ["w0.weight"]
    million = b"J\x40\x42\x0f\x00"
    huge = tensor_stream(million + million + b"\x86", b"K\x00K\x00\x86")
    many = tensor_stream(million + b"\x85", b"K\x00\x85", count=100)
    for name, stream in (("huge", huge), ("many", many)):
        with pytest.raises(CheckpointError, match=rf"{name}\.pth.*bytes of tensors"):
            read_checkpoint(rewritten(path, tmp_path / f"{name}.pth", stream))


def test_tables_that_unfold_without_end_are_refused(tmp_path: Path) -> None:
    inner: dict[str, Any] = {}
    for _ in range(4):
        inner = {str(i): inner for i in range(2000)}
    path = rewritten(saved(tmp_path / "a.pth"), tmp_path / "b.pth", pickle.dumps(inner, 2))
    with pytest.raises(CheckpointError, match=r"b\.pth.*unfolds"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["keys", "get", "items", "values"])
def test_a_dict_with_a_state_is_a_dict(name: str, tmp_path: Path) -> None:
    """Its own methods cannot be shadowed by attributes that a file sets."""
    path = saved(tmp_path / "a.pth")
    state = pickle.dumps({name: 5}, 2)[2:-1]
    stream = pickled_in(path)[:-1] + state + pickle.BUILD + pickle.STOP
    assert list(read_checkpoint(rewritten(path, tmp_path / "b.pth", stream)).tensors) == [
        "a.weight"
    ]


def test_what_is_compressed_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", tensor_stream(b"K\x04\x85", b"K\x01\x85"))
        archive.writestr("a/data/0", bytes(1 << 24))
    with pytest.raises(CheckpointError, match=r"bomb\.pth.*compressed"):
        read_checkpoint(path)


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_that_is_cut_anywhere_is_refused_or_whole(archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": {"a.weight": torch.ones(4)}}, path, _use_new_zipfile_serialization=archive)
    content = path.read_bytes()
    for length in range(1, len(content), 7):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"cut\.pth"):
            read_checkpoint(tmp_path / "cut.pth")

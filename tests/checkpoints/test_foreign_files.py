"""A file is judged by its bytes, whatever its name, and what is no checkpoint is called by name."""

from __future__ import annotations

import io
import pickle
import shlex
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgerep.checkpoints.reading import read_checkpoint
from edgerep.errors import CheckpointError

TABLE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize("name", ["w.pth.tar", "w", "w.pth", "w.safetensors", "w.tar", "w.v1.2"])
@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_a_checkpoint_may_have_any_name(form: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if form == "safetensors":
        save_file(TABLE, path)
    else:
        torch.save(TABLE, path, _use_new_zipfile_serialization=form == "zip")
    found = read_checkpoint(path).tensors
    assert all(torch.equal(found[key], tensor) for key, tensor in TABLE.items())


def scripted() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Conv2d(3, 3, 1), torch.ones(1, 3, 4, 4)), file)  # type: ignore
    return file.getvalue()


def exported() -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(nn.Conv2d(3, 3, 1), (torch.ones(1, 3, 4, 4),)), file)
    return file.getvalue()


def graph() -> bytes:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"
    ]
    body = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    return onnx.helper.make_model(body).SerializeToString()


def archive(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "."), content)
    return file.getvalue()


def arrays() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


FILES: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "TorchScript": (scripted, "is TorchScript (torch.jit.save)"),
    "a torch.export program": (exported, "is a program of torch.export"),
    "ONNX": (graph, "is an ONNX file, and no checkpoint. Name it .onnx"),
    "a web page": (
        lambda: b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>",
        "is a web page (“Google Drive - Virus scan warning”): the download failed",
    ),
    "a Git LFS pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 95012345\n",
        "is a pointer of Git LFS to the file of 95,012,345 bytes, not the file: run `git lfs pull`",
    ),
    "a pickle": (lambda: pickle.dumps({"a": np.ones(99)}), "is a pickle that torch.save did not"),
    "Keras": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file, as Keras writes"),
    "gzip": (lambda: b"\x1f\x8b" + bytes(64), "compressed by gzip: `gunzip` it first"),
    "tar": (lambda: bytes(257) + b"ustar\x00" + bytes(250), "an archive of tar"),
    "NumPy's arrays": (arrays, "holds arrays of NumPy (.npz)"),
    "a zipped checkpoint": (lambda: archive(best__pth=b"x"), "unpack it, and give best.pth"),
    "a zip of anything": (lambda: archive(readme__md=b"x"), "it holds readme.md"),
    "text": (lambda: b"Rate limit exceeded\n", "is text, and no checkpoint"),
    "nothing": (lambda: b"", "is empty"),
}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w"])
@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_checkpoint_is_called_by_name(kind: str, name: str, tmp_path: Path) -> None:
    content, said = FILES[kind]
    (tmp_path / name).write_bytes(content())
    with pytest.raises(CheckpointError) as refusal:
        read_checkpoint(tmp_path / name)
    message = str(refusal.value)
    assert said in message
    assert message.startswith(str(tmp_path / name))
    assert "weights_only" not in message
    assert len(message) < 2000


def test_the_command_that_converts_a_pickle_works(tmp_path: Path) -> None:
    path = tmp_path / "R-50's.pkl"
    path.write_bytes(pickle.dumps({"model": {"a.weight": np.ones((2, 3), np.float32)}}))
    with pytest.raises(CheckpointError) as refusal:
        read_checkpoint(path)
    words = shlex.split(str(refusal.value).partition("convert it: ")[2])
    subprocess.run([sys.executable, *words[1:]], check=True, timeout=300)
    found = read_checkpoint(path.with_suffix(".safetensors")).tensors
    assert found["a.weight"].shape == (2, 3)


def test_folders_are_called_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.mlpackage").mkdir()
    with pytest.raises(CheckpointError, match="is a Core ML package"):
        read_checkpoint(tmp_path / "model.mlpackage")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"is a folder: .*perhaps pytorch_model\.bin"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pth")

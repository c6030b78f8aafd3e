"""What a file is, judged by its bytes, where it is no checkpoint; and what to do with it.

Names say little: `.pth.tar` is what torch.save writes and no archive of tar, a failed download is
a web page, and a clone without Git LFS has pointers in the places of weights.
"""

from __future__ import annotations

import re
import shlex
import zipfile
from pathlib import Path

from edgerep.artefacts.kinds import CHECKPOINT_SUFFIXES, PACKAGE_SUFFIX
from edgerep.outside.archives import open_archive

_HEAD = 1024  # bytes that are looked at
_SHOWN = 4
# A torch.save of before 1.6 begins with this number, pickled.
_OLD_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# Fields of ONNX's ModelProto behind `ir_version`, as the first byte of each says it.
_ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42\x72"
_CONVERT = "edgerep takes it as it is, where it takes an artefact: `edgerep verify`, `build-engine`"
_SIGNATURES = (
    (0, b"\x89HDF", "an HDF5 file, as Keras writes: edgerep reads PyTorch's checkpoints"),
    (0, b"\x93NUMPY", "an array of NumPy, no checkpoint"),
    (0, b"GGUF", "a GGUF file, whose weights are quantised: give the network's float weights"),
    (4, b"TFL3", "a TensorFlow Lite model: edgerep reads PyTorch's checkpoints"),
    (0, b"ptrt", "a TensorRT engine, and no checkpoint: edgerep takes one named .engine"),
    (0, b"ftrt", "a TensorRT engine, and no checkpoint: edgerep takes one named .engine"),
    (0, b"\x1f\x8b", "compressed by gzip: `gunzip` it first"),
    (0, b"BZh", "compressed by bzip2: `bunzip2` it first"),
    (0, b"\xfd7zXZ\x00", "compressed by xz: `unxz` it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd: `unzstd` it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip: unpack it first"),
    (0, b"Rar!", "a RAR archive: unpack it first"),
    (257, b"ustar", "an archive of tar, which torch.save never writes: unpack it with `tar -xf`"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"\x7fELF", "a program"),
)


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors, whatever its name: a length, then that much JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    if len(head) < 9 or head[8:] != b"{":
        return False
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= path.stat().st_size - 8


def is_torchs_old(head: bytes) -> bool:
    """Whether a file that begins like this is in the format that torch wrote before 1.6."""
    return head[:1] == b"\x80" and _OLD_TORCH in head[:32]


def why_no_file(path: Path) -> str:
    """What is at a path where a checkpoint should be and is no file, and what to do."""
    if not path.is_dir():
        exists = "is no regular file" if path.exists() else "does not exist"
        return f"{path} {exists}: give the file of a checkpoint"
    if path.suffix == PACKAGE_SUFFIX:
        return f"{path} is a Core ML package, and no checkpoint. {_CONVERT}"
    inside = sorted(p.name for p in path.iterdir() if p.suffix in CHECKPOINT_SUFFIXES)
    if {"data.pkl", "version"} <= {p.name for p in path.iterdir()}:
        return (
            f"{path} is a folder: a checkpoint of torch.save, unpacked. Give the file that it was"
        )
    more = f", perhaps {', '.join(inside[:_SHOWN])} in it" if inside else ""
    return f"{path} is a folder: give the file of a checkpoint{more}"


def foreign_kind(path: Path) -> str | None:
    """What a file is that is no checkpoint, and what to do: "is a web page: ..."; or None."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return "is empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        title = re.search(rb"<title[^>]*>\s*([^<]{1,80})", head, re.IGNORECASE)
        named = f" (“{title[1].decode(errors='replace').strip()}”)" if title else ""
        return f"is a web page{named}: the download failed, or asked for a login; download it again"
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"size (\d{1,18})", head)
        named = f" of {int(size[1]):,} bytes" if size else ""
        return f"is a pointer of Git LFS to the file{named}, not the file: run `git lfs pull`"
    for offset, signature, words in _SIGNATURES:
        if head[offset:].startswith(signature):
            return f"is {words}"
    if _is_onnx(head):
        return f"is an ONNX file, and no checkpoint. Name it .onnx: {_CONVERT}"
    if zipfile.is_zipfile(path):
        return _kind_of_archive(path)
    if head[:1] == b"\x80" and len(head) > 32 and not is_torchs_old(head):
        return _pickle_words(path)
    if _is_text(head):
        return "is text, and no checkpoint"
    return None


def _is_onnx(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 8 and 1 <= head[1] <= 20 and head[2] in _ONNX_FIELDS


def _kind_of_archive(path: Path) -> str | None:
    try:
        with open_archive(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return None  # the reader says what is wrong with it
    leaves = {name.partition("/")[2] or name for name in names}
    if "constants.pkl" in leaves or any(leaf.startswith("code/") for leaf in leaves):
        return (
            "is TorchScript (torch.jit.save): a compiled program, not a checkpoint. Save the "
            "weights of the network that was traced or scripted: "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    if "data.pkl" in leaves:
        return None
    if "serialized_exported_program.json" in leaves | set(names) or any(
        leaf.startswith("models/") or leaf == "archive_format" for leaf in leaves
    ):
        return (
            "is a program of torch.export, not a checkpoint. Save the weights of the network that "
            "was exported: torch.save(model.state_dict(), 'weights.pth')"
        )
    if names and all(name.endswith(".npy") for name in names):
        return "holds arrays of NumPy (.npz), and no checkpoint of torch.save"
    inside = [name for name in names if name.endswith(CHECKPOINT_SUFFIXES)]
    if inside:
        return f"is a zip archive: unpack it, and give {', '.join(inside[:_SHOWN])}"
    first = ", ".join(names[:_SHOWN]) or "nothing"
    return f"is a zip archive that torch.save did not write; it holds {first}"


def _pickle_words(path: Path) -> str:
    """What to do with a pickle that torch did not write: arrays, as detectron2 saves them."""
    target = str(path.with_suffix(".safetensors"))
    script = (
        f"import pickle, numpy; from safetensors.numpy import save_file; "
        f"table = pickle.load(open({str(path)!r}, 'rb')); table = table.get('model', table); "
        f"save_file({{k: numpy.array(v) for k, v in table.items()}}, {target!r})"
    )
    return (
        f"is a pickle that torch.save did not write. Reading it would run what is in it, so that "
        f"edgerep does not; where you trust it, convert it: python -c {shlex.quote(script)}"
    )


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in head[:256]) and head.isascii()

"""Arrays from files of NumPy's and safetensors', held to what the file says and to bounds.

Nothing pickled is read. What lies uncompressed in the file stays there until rows are asked for.
The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.lib import format as npy

from edgerep.artefacts.tensors import Array
from edgerep.data.pixels import Pixels, StoredArray
from edgerep.errors import DataError
from edgerep.outside.archives import open_archive, read_into
from edgerep.outside.regular import GIB, MIB
from edgerep.outside.safetensors_header import read_header

_FREE_BYTES = GIB  # that a file may unpack to beyond its own size
_MOST_DIMENSIONS = 32
_LONGEST_HEADER = 10_000
_KINDS = "biuf"  # booleans, integers and floating-point numbers; no objects, texts or fields
_LOCAL_HEADER = 30  # bytes of a zip entry's own header, before its name
_TENSOR_TYPES = {"U8": "u1", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
                 "F64": "<f8", "F16": "<f2"}  # fmt: skip


def read_arrays(path: Path, wanted: Collection[str], alone: str) -> dict[str, Pixels | None]:
    """The wanted arrays of an `.npz` or `.npy` file; nothing pickled is read.

    Args:
        path: The file, a regular one.
        wanted: The names of the arrays to read.
        alone: The name under which the one array of an `.npy` file is returned.

    Returns:
        Every array of the file by its name; None in place of those that are not wanted. Only what
        is compressed is in memory.

    Raises:
        ValueError: The file is damaged, or it unpacks to more than a GiB beyond its own size.
        DataError, OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError: It is
            damaged.
    """
    room = path.stat().st_size + _FREE_BYTES
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            shape, by_columns, dtype = _read_header(file, path.name)
            if shape and not by_columns:
                return {alone: StoredArray(path, file.tell(), shape, dtype)}
            return {alone: _read_whole(file, shape, by_columns, dtype, room, path.name)}
    found: dict[str, Pixels | None] = {}
    with open_archive(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            found[name] = None
            if name not in wanted:
                continue
            with archive.open(entry) as stream:
                shape, by_columns, dtype = _read_header(stream, entry.filename)
                start = stream.tell()
                if entry.compress_type == zipfile.ZIP_STORED and shape and not by_columns:
                    while stream.read(MIB):  # which ends in an error where its checksum is wrong
                        pass
                    if start + math.prod(shape) * dtype.itemsize > entry.file_size:
                        raise ValueError(f"{entry.filename} was cut short")
                    place = _content_of(path, entry) + start
                    found[name] = StoredArray(path, place, shape, dtype)
                    continue
                array = _read_whole(stream, shape, by_columns, dtype, room, entry.filename)
            room -= array.nbytes
            found[name] = array
    return found


def read_tensors(path: Path, wanted: Collection[str]) -> dict[str, Pixels | None]:
    """The wanted tensors of a `.safetensors` file, as `read_arrays` returns them.

    Raises:
        DataError: The file is damaged, or a wanted tensor is of a type that NumPy does not have.
        OSError: It cannot be read.
    """
    found: dict[str, Pixels | None] = {}
    for name, tensor in read_header(path, DataError).items():
        found[name] = None
        if name in wanted:
            if tensor.dtype not in _TENSOR_TYPES:
                raise DataError(f"{path}: {name} is of type {tensor.dtype}: save it as float32")
            dtype = np.dtype(_TENSOR_TYPES[tensor.dtype])
            found[name] = StoredArray(path, tensor.offset, tensor.shape or (1,), dtype)
    return found


def _read_header(stream: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order by columns, and type of an array; the stream is at its first byte then."""
    version = npy.read_magic(stream)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{name} is of version {version} of the format, for arrays with fields")
    shape, by_columns, dtype = readers[version](stream, max_header_size=_LONGEST_HEADER)
    if dtype.kind not in _KINDS:
        raise ValueError(f"{name} is an array of {str(dtype)[:80]}, not of numbers")
    if len(shape) > _MOST_DIMENSIONS or any(not 0 <= size < 2**48 for size in shape):
        raise ValueError(f"{name} has a shape that no array has")
    if math.prod(shape) * dtype.itemsize >= 2**62:
        raise ValueError(f"{name} has a shape that no array has")
    return shape, by_columns and len(shape) > 1, dtype


def _read_whole(
    stream: Any,
    shape: tuple[int, ...],
    by_columns: bool,
    dtype: np.dtype[Any],
    room: int,
    name: str,
) -> Array:
    size = math.prod(shape) * dtype.itemsize
    if size > room:
        raise ValueError(
            f"{name} {dtype} {list(shape)} unpacks to {size:,} bytes, more than 1 GiB beyond the "
            f"file's own size: save it with numpy.savez, uncompressed, or give fewer"
        )
    content = bytearray(size)
    read_into(stream, memoryview(content), name)
    flat = np.frombuffer(content, dtype)
    return cast(Array, flat.reshape(shape[::-1]).T if by_columns else flat.reshape(shape))


def _content_of(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where the content of an uncompressed entry begins in its archive."""
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(_LOCAL_HEADER)
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return entry.header_offset + _LOCAL_HEADER + lengths

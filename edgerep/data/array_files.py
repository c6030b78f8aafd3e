"""Arrays from NumPy's files, held to what the file itself says and to bounds before they are read.

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
from edgerep.outside.archives import open_archive, read_into
from edgerep.outside.regular import GIB

_FREE_BYTES = GIB  # that a file may unpack to beyond its own size
_MOST_DIMENSIONS = 32
_LONGEST_HEADER = 10_000
_KINDS = "biuf"  # booleans, integers and floating-point numbers; no objects, texts or fields


def read_arrays(path: Path, wanted: Collection[str], alone: str) -> dict[str, Array | None]:
    """The wanted arrays of an `.npz` or `.npy` file; nothing pickled is read.

    Args:
        path: The file, a regular one.
        wanted: The names of the arrays to read.
        alone: The name under which the one array of an `.npy` file is returned.

    Returns:
        Every array of the file by its name; None in place of those that are not wanted.

    Raises:
        ValueError: The file is damaged, or it unpacks to more than a GiB beyond its own size.
        OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError: It is damaged.
    """
    room = path.stat().st_size + _FREE_BYTES
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return {alone: _read_array(file, room, path.name)}
    found: dict[str, Array | None] = {}
    with open_archive(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            found[name] = None
            if name in wanted:
                with archive.open(entry) as stream:
                    array = _read_array(stream, room, entry.filename)
                room -= array.nbytes
                found[name] = array
    return found


def _read_array(stream: Any, room: int, name: str) -> Array:
    version = npy.read_magic(stream)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{name} is of version {version} of the format, for arrays with fields")
    shape, by_columns, dtype = readers[version](stream, max_header_size=_LONGEST_HEADER)
    if dtype.kind not in _KINDS:
        raise ValueError(f"{name} is an array of {str(dtype)[:80]}, not of numbers")
    if len(shape) > _MOST_DIMENSIONS or any(not 0 <= size < 2**48 for size in shape):
        raise ValueError(f"{name} has a shape that no array has")
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

"""Images that need not be in memory: rows of an array that are read when they are asked for."""

from __future__ import annotations

import math
import os
import weakref
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.errors import DataError

Rows: TypeAlias = "slice | NDArray[np.integer[Any]]"


class Pixels(Protocol):
    """Images [N, C, H, W], uint8 or float32, of which some are read at a time.

    A NumPy array is one. Nobody turns the whole of it into one array: it may not fit.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Rows, /) -> Array: ...


class First:
    """The first images of others."""

    def __init__(self, pixels: Pixels, count: int) -> None:
        self._pixels = pixels
        self.shape = (min(count, len(pixels)), *pixels.shape[1:])
        self.dtype = pixels.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Array:
        return self._pixels[np.arange(len(self))[rows]]


class StoredArray:
    """An array as it lies in a file, row after row.

    Args:
        path: The file, which is held open from now on: it may be replaced or removed.
        offset: Where the array begins, in bytes.
        shape: Its shape, the rows first.
        dtype: Its type in the file.

    Raises:
        DataError: The file has fewer bytes than that.
        OSError: It cannot be opened.
    """

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._name = str(path)
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self._file)
        self._offset = offset
        self._stored = dtype
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize
        self.shape = shape
        self.dtype = dtype.newbyteorder("=")
        size, there = shape[0] * self._row_bytes, os.fstat(self._file).st_size - offset
        if size > there:
            raise DataError(f"{path} was cut short: {there:,} of {size:,} bytes are there")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Array:
        wanted = np.arange(len(self))[rows]
        content = bytearray(len(wanted) * self._row_bytes)
        target = memoryview(content)
        for run in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(wanted) != 1) + 1):
            if len(run):
                place = self._offset + int(wanted[run[0]]) * self._row_bytes
                start, stop = int(run[0]) * self._row_bytes, (int(run[-1]) + 1) * self._row_bytes
                self._fill(target[start:stop], place)
        found: Array = np.frombuffer(content, self._stored).reshape(len(wanted), *self.shape[1:])
        return found.astype(self.dtype, copy=False)

    def _fill(self, target: memoryview, place: int) -> None:
        while len(target):
            try:
                part = os.pread(self._file, len(target), place)
            except OSError as error:
                raise DataError(f"cannot read {self._name}: {error.strerror or error}") from error
            if not part:
                raise DataError(f"{self._name} became shorter while it was read")
            target[: len(part)] = part
            target, place = target[len(part) :], place + len(part)

"""Zip archives from outside: opened and read within bounds."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgerep.outside.regular import MIB

_LARGEST_DIRECTORY = 32 * MIB  # of about 300,000 entries; zipfile makes an object of each
_CHUNK = MIB


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose list of entries is of a sane size, and whose entries do not overlap.

    Raises:
        zipfile.BadZipFile: The file is no such archive.
        OSError, ValueError, NotImplementedError, RuntimeError: It is damaged.
    """
    with (
        path.open("rb", buffering=0) as raw,
        _Guarded(raw) as file,
        zipfile.ZipFile(file) as archive,
    ):
        file.guarded = False
        size = file.seek(0, io.SEEK_END)
        if sum(entry.compress_size for entry in archive.infolist()) > size:
            raise zipfile.BadZipFile("its entries overlap")
        yield archive


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, most: int) -> bytearray:
    """The content of an entry, unpacked.

    Args:
        archive: The archive.
        entry: One of its entries.
        most: The largest number of bytes that is unpacked.

    Raises:
        ValueError: The entry says that it has more, or has another number of bytes than it says.
        zipfile.BadZipFile: Its checksum is wrong.
        OSError, NotImplementedError, RuntimeError, zlib.error: It is damaged, encrypted, or
            compressed as Python cannot undo.
    """
    if entry.file_size > most:
        raise ValueError(
            f"{entry.filename} unpacks to {entry.file_size:,} bytes; {most:,} are read"
        )
    content = bytearray(entry.file_size)
    with archive.open(entry) as stream:
        read_into(stream, memoryview(content), entry.filename)
        if stream.read(1):
            raise ValueError(f"{entry.filename} unpacks to more than the archive says")
    return content


def read_into(stream: Any, target: memoryview, name: str) -> None:
    """Fill `target` from a stream, chunk by chunk.

    Raises:
        ValueError: The stream ends before.
        OSError: It cannot be read.
    """
    at = 0
    while at < len(target):
        chunk = stream.read(min(_CHUNK, len(target) - at))
        if not chunk:
            raise ValueError(f"{name} was cut short: {at:,} of {len(target):,} bytes are there")
        target[at : at + len(chunk)] = chunk
        at += len(chunk)


class _Guarded(io.BufferedReader):
    """A file of which zipfile reads no huge piece while it looks for the entries."""

    guarded = True

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.guarded:
            return super().read(size)
        most = _LARGEST_DIRECTORY + 1
        content = super().read(most if size is None or size < 0 else min(size, most))
        if len(content) > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile("its list of entries is larger than any that is read")
        return content

"""Files and folders from outside: regular ones only, and no larger than what is read of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgerep.errors import EdgerepError

MIB = 1 << 20
GIB = 1 << 30
LARGEST_ARTEFACT = 16 * GIB  # hashed in some twenty seconds; no network for a device is near it
_MOST_ENTRIES = 10_000  # of a folder that is one artefact; a package has five
_DEEPEST = 16  # folders in folders; a package has three

_OTHERS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def require_regular(
    path: Path, error: type[EdgerepError] = EdgerepError, *, most: int = LARGEST_ARTEFACT
) -> int:
    """The bytes of a regular file, which a link may lead to.

    Args:
        path: The file.
        error: What is raised.
        most: The largest size that is read.

    Raises:
        EdgerepError: As `error`: there is no such file, it is a folder, a pipe or a device, which
            could be read without end, or it is larger than `most`.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as failure:  # ValueError: a NUL in the name
        reason = getattr(failure, "strerror", None) or str(failure)
        raise error(f"cannot read {path}: {reason}") from failure
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _OTHERS if test(found.st_mode)), "no regular file")
        raise error(f"cannot read {path}, which is {kind}: give a file")
    if found.st_size > most:
        raise error(
            f"{path} has {found.st_size:,} bytes, and edgerep reads at most {most:,} of such a file"
        )
    return found.st_size


def read_regular(path: Path, error: type[EdgerepError] = EdgerepError, *, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        EdgerepError: As `error`: `require_regular` refuses the file, or it cannot be read.
    """
    size = require_regular(path, error, most=most)
    try:
        with path.open("rb") as stream:
            content = stream.read(size + 1)  # not `most`: for so many bytes room is made
    except OSError as failure:
        raise error(f"cannot read {path}: {failure.strerror or failure}") from failure
    if len(content) > size:
        raise error(f"{path} grew while it was read: read it again")
    return content


def files_in(folder: Path, error: type[EdgerepError] = EdgerepError) -> list[Path]:
    """The files of a folder that is one artefact, in order of their names.

    Raises:
        EdgerepError: As `error`: something in it is neither a folder nor a regular file, a link
            for example, or there is more of it, larger or deeper, than any package has.
    """
    found: list[Path] = []
    total = 0
    for path, depth in _walk(folder, error):
        if len(found) >= _MOST_ENTRIES or depth > _DEEPEST:
            raise error(
                f"{folder} has more than {_MOST_ENTRIES:,} files or {_DEEPEST} folders in folders: "
                f"it is no package"
            )
        if not path.is_dir():
            total += path.stat().st_size
        if total > LARGEST_ARTEFACT:
            raise error(f"{folder} has more than {LARGEST_ARTEFACT:,} bytes: it is no package")
        found.append(path)
    return sorted(found)


def _walk(folder: Path, error: type[EdgerepError]) -> Iterator[tuple[Path, int]]:
    waiting = [(folder, 1)]
    while waiting:
        current, depth = waiting.pop()
        try:
            with os.scandir(current) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as failure:
            raise error(f"cannot read {current}: {failure.strerror or failure}") from failure
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth > _DEEPEST:
                    yield Path(entry.path), depth + 1
                waiting.append((Path(entry.path), depth + 1))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path), depth
            else:
                what = "a link" if entry.is_symlink() else "neither a file nor a folder"
                raise error(f"{folder}: {entry.path} is {what}; copy the files themselves there")

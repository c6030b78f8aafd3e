"""A folder of pictures: which files it has, which of them are broken, and their labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.data.picture_decoding import SUFFIXES, require_pillow, why_unreadable
from edgerep.errors import DataError
from edgerep.outside.regular import MIB, read_regular

LABELS_NAME = "labels.txt"
_MOST_FILES = 2_000_000
_MOST_BROKEN = 10  # one in so many
_SHOWN = 8
_LARGEST_LABELS = 64 * MIB


@dataclass(frozen=True, slots=True, eq=False)
class FolderContent:
    """The pictures of a folder, in the order of their paths.

    Attributes:
        folder: Where they are.
        files: Those that can be decoded, as far as they were wanted.
        broken: What was skipped, and why: "a/b.jpg (image file is truncated)".
        there: Pictures in the folder without the broken ones that were found.
    """

    folder: Path
    files: tuple[Path, ...]
    broken: tuple[str, ...]
    there: int


def read_folder(
    folder: Path,
    *,
    most: int | None = None,
    watch: Callable[[int, int], None] = lambda done, count: None,
) -> FolderContent:
    """Find the pictures of a folder and of those inside it; decode each once, to find broken ones.

    Args:
        folder: The folder.
        most: So many that can be decoded are enough: the first; None takes all.
        watch: Told how many were decoded, of how many.

    Raises:
        DataError: There is no picture, or more than one in ten is broken.
        MissingDependencyError: Pillow is not installed.
    """
    require_pillow()
    found = sorted(_pictures_in(folder), key=lambda path: path.relative_to(folder).parts)
    if not found:
        raise DataError(
            f"{folder} has no picture ({' '.join(SUFFIXES)}) in it: give a folder of pictures, or "
            f"one file of arrays, .npz, .npy or .safetensors"
        )
    good: list[Path] = []
    broken: list[str] = []
    wanted = len(found) if most is None else min(most, len(found))
    for path in found:
        if len(good) == wanted:
            break
        reason = "a link that leads nowhere" if _leads_nowhere(path) else why_unreadable(path)
        if reason:
            broken.append(f"{path.relative_to(folder)} ({reason})")
        else:
            good.append(path)
        watch(len(good) + len(broken), wanted)
    if len(broken) * _MOST_BROKEN > len(good) + len(broken):
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise DataError(
            f"{folder}: {len(broken)} of {len(good) + len(broken)} pictures are broken, more than "
            f"one in ten: {', '.join(broken[:_SHOWN])}{more}. Replace or remove them"
        )
    return FolderContent(folder, tuple(good), tuple(broken), len(found) - len(broken))


def labels_of(content: FolderContent) -> Array | None:
    """One whole number for each picture, [N]; None where the folder says none.

    It is that of `labels.txt`, a path within the folder and a whole number on each line. Or of the
    folders for classes: by their names, where all of these are whole numbers, else counted from 0
    in the order of the names, as by torchvision's `ImageFolder`.

    Raises:
        DataError: `labels.txt` does not fit the pictures.
    """
    folder, files = content.folder, content.files
    listed = folder / LABELS_NAME
    if listed.exists():
        return _listed_labels(listed, folder, files)
    classes = [path.relative_to(folder).parts for path in files]
    if any(len(parts) < 2 for parts in classes):
        return None
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if all(name.isascii() and name.isdigit() and len(name) < 10 for name in names):
        numbers = {name: int(name) for name in names}
    else:
        numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[parts[0]] for parts in classes], np.int64)


def _pictures_in(folder: Path) -> Iterator[Path]:
    """The files that are named as pictures are, in folders of any depth; links are followed.

    A link that leads nowhere is among them, whatever its name: a folder of pictures may be missing.
    """
    seen: set[tuple[int, int]] = set()
    count = 0

    def fail(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {error.strerror or error}") from error

    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        stat = os.stat(place)
        if (stat.st_dev, stat.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            count += 1
            if count > _MOST_FILES:
                raise DataError(f"{folder} has more than {_MOST_FILES:,} files: give a smaller one")
            path = Path(place, name)
            is_wanted = name.lower().endswith(SUFFIXES) or _leads_nowhere(path)
            if is_wanted and not name.startswith("."):
                yield path


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _listed_labels(listed: Path, folder: Path, files: Sequence[Path]) -> Array:
    try:
        text = read_regular(listed, DataError, most=_LARGEST_LABELS).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{listed} is not a text file in UTF-8: {error}") from error
    numbers: dict[str, int] = {}
    for place, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, number = line.strip().replace(",", " ").replace("\t", " ").rpartition(" ")
        if not (number.isascii() and number.isdigit() and len(number) < 10) or not name.strip():
            raise DataError(
                f"{listed}, line {place}: {line.strip()[:80]!r} is not the path of a picture and a "
                f"whole number, such as `cat/1.jpg 281`"
            )
        numbers[os.path.normpath(name.strip())] = int(number)
    paths = [str(path.relative_to(folder)) for path in files]
    if missing := [path for path in paths if path not in numbers]:
        raise DataError(
            f"{listed} has no label for {len(missing)} of {len(paths)} pictures, {missing[0]} for "
            f"example: give each a line, its path within the folder and a whole number"
        )
    return np.array([numbers[path] for path in paths], np.int64)

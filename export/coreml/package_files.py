"""The files of a Core ML package, found where its manifest and its program say; only read.

coremltools' own reader of packages writes to `Manifest.json` of whatever it opens.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from edgerep.errors import CoremlError
from edgerep.outside.declared import PACKAGE_MANIFEST
from edgerep.outside.json_text import JsonError, parse_json
from edgerep.outside.regular import MIB, read_regular, require_regular
from edgerep.outside.shapes import ShapeError, require_shape

_LARGEST_MANIFEST = MIB
_LARGEST_MODEL = 256 * MIB  # of a program whose weights lie beside it
_DATA = "Data"  # the manifest's paths are relative to it
_MODEL_FOLDER = "@model_path/"  # in the program: the folder of the model's own file
_BLOB_HEADER = struct.Struct("<IIQQ")  # sentinel, element type, bytes, offset of the data
_BLOB_SENTINEL = 0xDEADBEEF


def model_file(package: Path) -> Path:
    """The file of a package that holds its model, as the manifest says.

    Raises:
        CoremlError: There is no package, its manifest is missing or damaged, or leads out of it.
    """
    if not package.is_dir():
        found = "it is a file" if package.is_file() else "there is nothing"
        raise CoremlError(f"{package} is not a Core ML package, which is a folder: {found}")
    manifest = package / "Manifest.json"
    content = read_regular(manifest, CoremlError, most=_LARGEST_MANIFEST)
    try:
        fields = parse_json(content)
        require_shape(fields, PACKAGE_MANIFEST)
    except (JsonError, ShapeError) as error:
        raise CoremlError(
            f"{package} is not a Core ML package, or it is damaged: Manifest.json: {error}. Make "
            f"it again"
        ) from error
    root = fields["rootModelIdentifier"]
    if root not in fields["itemInfoEntries"]:
        raise CoremlError(
            f"{package} is damaged: Manifest.json has no item {root!r}, which it calls the model. "
            f"Make it again"
        )
    return _within(package, package / _DATA, fields["itemInfoEntries"][root]["path"])


def read_model(package: Path) -> bytes:
    """The model of a package, a `Specification` of Core ML's protobuf.

    Raises:
        CoremlError: There is no package, it is damaged, or its model is no regular file in it.
    """
    try:
        return read_regular(model_file(package), CoremlError, most=_LARGEST_MODEL)
    except CoremlError as error:
        raise CoremlError(f"{package} is damaged, or no Core ML package: {error}") from error


def weights_folder(package: Path, blobs: Iterable[Any]) -> Path:
    """The one folder in which all of a program's weights are, each blob of them checked.

    Args:
        package: The package.
        blobs: Every `BlobFileValue` of its program.

    Raises:
        CoremlError: A blob is in a file outside the package, or missing, cut short or at another
            offset; or the blobs are in files of several folders, which coremltools cannot read.
    """
    model = model_file(package).parent
    headers: dict[str, Path] = {}
    for blob in blobs:
        name = blob.fileName
        if name not in headers:
            if not name.startswith(_MODEL_FOLDER):
                raise CoremlError(
                    f"{package}: its program reads weights from {name!r}, and not from the "
                    f"package ({_MODEL_FOLDER}...). Make the package again"
                )
            headers[name] = _within(package, model, name.removeprefix(_MODEL_FOLDER))
        _require_blob(package, headers[name], blob.offset)
    folders = sorted({file.parent for file in headers.values()})
    if len(folders) > 1:
        names = ", ".join(folder.relative_to(package).as_posix() for folder in folders)
        raise CoremlError(
            f"{package} has weights in several folders, {names}: edgerep reads packages with one"
        )
    return folders[0] if folders else model


def _within(package: Path, folder: Path, relative: str) -> Path:
    """A file in a folder of a package, by a path from the package itself.

    Raises:
        CoremlError: The path leads out of the package, also by a link.
    """
    path = PurePosixPath(relative)
    file = folder / path
    outside = path.is_absolute() or ".." in path.parts or "\\" in relative or "\0" in relative
    if outside or not file.resolve().is_relative_to(package.resolve()):
        raise CoremlError(
            f"{package}: {relative!r} leads out of the package, and nothing outside is read. Make "
            f"the package again"
        )
    return file


def _require_blob(package: Path, file: Path, offset: int) -> None:
    try:
        length = require_regular(file, CoremlError)
        with file.open("rb") as stream:
            stream.seek(offset)
            sentinel, _, size, start = _BLOB_HEADER.unpack(stream.read(_BLOB_HEADER.size))
        whole = sentinel == _BLOB_SENTINEL and start + size <= length
    except (OSError, OverflowError, ValueError, struct.error, CoremlError):
        whole = False
    if not whole:
        raise CoremlError(
            f"{package} is damaged: {file.relative_to(package).as_posix()} is missing, cut short "
            f"or not the one this program was saved with. Make the package again"
        )

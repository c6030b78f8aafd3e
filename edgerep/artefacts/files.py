"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgerep.artefacts.exchange import exchange
from edgerep.errors import EdgerepError, OptionError, OutputError
from edgerep.outside.regular import files_in, require_regular

_CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, over its files' relative names and hashes in name order.

    Raises:
        EdgerepError: The file is missing, cannot be read, is no regular one, or is larger than any
            artefact; or something in the folder is.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for file in files_in(path):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode())
        return digest.hexdigest()
    require_regular(path)
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise EdgerepError(f"cannot read {path}: {_reason(error)}") from error
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder.

    Raises:
        EdgerepError: As `sha256_of`.
    """
    if path.is_dir():
        return sum(require_regular(file) for file in files_in(path))
    return require_regular(path)


def require_writable(path: Path, *, folder: bool = False) -> None:
    """Refuse a bad output path before any work is done.

    Args:
        path: Where the artefact is to be written.
        folder: The artefact is itself a folder (a Core ML package).

    Raises:
        OptionError: `path` is a folder where a file is wanted, or a file where a folder is wanted.
        OutputError: The folder of `path` cannot be created or written to; nothing is created yet.
    """
    if folder and path.is_file():
        raise OptionError(f"{path} is a file, and a folder is to be written there")
    if not folder and path.is_dir():
        raise OptionError(f"{path} is a folder: give the name of a file to write")
    there = path.absolute().parent
    while not os.path.lexists(there):  # the root is there
        there = there.parent
    if not there.is_dir():
        raise OutputError(f"cannot create {path.parent}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {there}: permission denied")


def require_suffix(output: Path, suffixes: str | Sequence[str], what: str) -> None:
    """Refuse an output whose name would say that it is something else.

    Args:
        output: The path that was given.
        suffixes: What it must end in; one of several.
        what: What is to be written, for the message: "an ONNX file".

    Raises:
        OptionError: The suffix is another one.
    """
    allowed = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    if output.suffix not in allowed:
        raise OptionError(f"{output}: give {what} a name that ends in {' or '.join(allowed)}")


@contextlib.contextmanager
def replacing(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it takes `path`'s place.

    An exception, Ctrl-C included, leaves what was at `path` before. A killed process leaves the
    old artefact, and perhaps a `.partial` file beside it, never half of a new one. Where the system
    cannot exchange two folders, there is an instant in which neither stands at `path`.

    Raises:
        OptionError: `path` is a folder where a file is wanted, or a file where a folder is wanted.
        OutputError: The folder of `path` cannot be created or written to, or any OSError came out
            of the block: a full disk, for example.
    """
    require_writable(path, folder=folder)
    # Named before it is made, inside the `try`: Ctrl-C can come between any two calls.
    scratch = path.parent / f".{path.name}.{secrets.token_hex(8)}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(mode=0o700)
        partial = scratch / path.name  # the real name: some writers look at the suffix
        yield partial
        if folder:
            _replace_folder(partial, path, scratch / "previous")
        else:
            _flush(partial)
            os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        try:
            shutil.rmtree(scratch, ignore_errors=True)
        except (KeyboardInterrupt, OSError):  # rmtree, interrupted, may close a folder twice
            shutil.rmtree(scratch, ignore_errors=True)
            raise KeyboardInterrupt from None


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        OptionError: `path` is a folder.
        OutputError: The file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _replace_folder(new: Path, path: Path, aside: Path) -> None:
    if path.exists() and exchange(new, path):
        return  # the old one stands where the new one stood, and goes with the scratch folder
    try:
        if path.exists():
            os.replace(path, aside)
        os.replace(new, path)
    except BaseException:  # Ctrl-C too: what stands aside is removed with the scratch folder
        if aside.exists() and not path.exists():
            os.replace(aside, path)
        raise


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return error.strerror or str(error)

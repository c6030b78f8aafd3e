"""What is refused about an output before anything is loaded: its name and its folder."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgerep.artefacts.files import require_suffix, require_writable
from edgerep.artefacts.kinds import ONNX_SUFFIX
from edgerep.errors import OptionError, OutputError


def require_output(
    output: Path,
    suffixes: str | Sequence[str],
    what: str,
    *,
    inputs: Iterable[str | Path | None] = (),
    folder: bool = False,
) -> None:
    """Refuse an output that cannot be written, or that would replace what it is made from.

    Args:
        output: The path that was given.
        suffixes: What it must end in; one of several.
        what: What is to be written, for messages.
        inputs: The files that are read; None and "-" stand for none.
        folder: The output is itself a folder (a Core ML package).

    Raises:
        OptionError: The suffix is another one; the output is an input, or a folder where a file is
            wanted, or the reverse.
        OutputError: The folder of the output cannot be created or written to.
    """
    require_suffix(output, suffixes, what)
    require_no_input(output, inputs)
    require_writable(output, folder=folder)
    _try_to_write(output)


def require_no_input(output: Path, inputs: Iterable[str | Path | None]) -> None:
    """Refuse an output that would replace what the command reads, under whatever name.

    Raises:
        OptionError: It is one of `inputs`; None stands for none.
    """
    for given in inputs:
        if given is not None and (
            Path(given).resolve() == output.resolve() or _is_same_file(Path(given), output)
        ):
            raise OptionError(f"{output} is read by this command and cannot be its output too")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False


def require_folder(output: Path) -> None:
    """Refuse a folder that cannot be made or written into.

    Raises:
        OptionError: There is a file of this name.
        OutputError: The folder cannot be created or written to.
    """
    if output.exists() and not output.is_dir():
        raise OptionError(f"{output} is a file: give a folder to write into")
    require_writable(output / "deploy.json")
    _try_to_write(output / "deploy.json")


def require_kept(path: Path | None, *, inputs: Iterable[str | Path | None]) -> None:
    """Refuse a value of `--keep-onnx` that cannot be written, as `require_output` does.

    Raises:
        OptionError, OutputError: It cannot.
    """
    if path is not None:
        require_output(path, ONNX_SUFFIX, "an ONNX file", inputs=inputs)


def _try_to_write(output: Path) -> None:
    """Make and remove an empty folder where the output is to go: some disks only look writable."""
    there = output.absolute().parent
    while not there.is_dir():
        there = there.parent
    trial = there / f".{output.name[:64]}.{secrets.token_hex(8)}.partial"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise OutputError(f"cannot write into {there}: {error.strerror}") from error

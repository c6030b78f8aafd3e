"""What can go wrong, and the exit code that each kind has on the command line.

EdgerepError                    3  an input is unreadable, malformed, unsafe or unsupported
  + CheckpointError             3  file, format, keys, values
  + NetworkError                3  the user's own network cannot be imported, built or run
  + FusionError                 3  names the site, or the network
  + OnnxError                   3  a graph cannot be made or read
  + EngineError                 3  an engine cannot be built, read or run
  + CoremlError                 3  a Core ML package cannot be made, read or run
  + DataError                   3  images or labels given by the user
  + OutputError                 3  a file cannot be written
  + OptionError                 2  options that are wrong or contradict each other
  + ParityError                 1  a comparison failed; names each bound that was exceeded
  + MissingRuntimeError         4  a package, driver or device is not there
      + MissingDependencyError  4  names the extra that brings it

A message says what was found, where, and what to do.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import ClassVar

_HOME = Path(__file__).resolve().parent
_LONGEST = 300  # characters of somebody else's message


LONGEST_MESSAGE = 2000  # characters that a message has on the command line


def first_line(error: BaseException) -> str:
    """The first line of somebody else's error, or its kind where it says nothing."""
    return (_said(error) or type(error).__name__).splitlines()[0]


def kind_and_line(error: BaseException) -> str:
    """The kind of somebody else's error and the first line of what it says."""
    first = (_said(error) or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"


def _said(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception:  # a class of somebody else's, which says nothing then
        return ""


def line_of(error: BaseException) -> str:
    """Somebody else's error in one line: its kind, what it says, and the line of the user's code.

    "ValueError: 17 is odd, in nets/stem.py:12, `x = self.split(x)`"
    """
    return f"{kind_and_line(error)[:_LONGEST].rstrip('.')}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """Where in the user's own code an error came from: ", in net.py:12, `x = y`"; empty if nowhere.

    The user's own is what neither edgerep nor torch nor Python's library holds.
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_of_the_user(f.filename)]
    if not frames:
        return ""
    last = frames[-1]
    line = f", `{last.line.strip()[:120]}`" if last.line else ""
    return f", in {_shown(last.filename)}:{last.lineno}{line}"


# Installed packages that edgerep itself calls: what fails in them is no network's own code.
_CALLED = ("onnx", "onnxruntime", "onnxscript", "onnx_ir", "coremltools", "numpy", "safetensors",
           "click", "google", "tensorrt", "tensorrt_rtx", "pycuda")  # fmt: skip


def is_of_own_code(error: BaseException) -> bool:
    """Whether the user's own code raised an error, or what it called in torch or Python did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_of_the_user(frame.filename):
            parts = Path(frame.filename).parts
            at = max((i for i, p in enumerate(parts) if p.endswith("-packages")), default=None)
            return at is None or parts[at + 1].partition(".")[0] not in _CALLED
        if os.path.realpath(frame.filename).startswith(f"{_HOME}{os.sep}"):
            return False
    return False


def _is_of_the_user(file: str) -> bool:
    if file.startswith("<"):  # written by a program; but what was typed at a prompt is the user's
        return file in ("<string>", "<stdin>") or file.startswith("<ipython")
    path = os.path.realpath(file)
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    rooms = [_HOME, _HOME / "export", _HOME / "bench", *([Path(torch).parent] if torch else [])]
    if any(path.startswith(f"{os.path.realpath(room)}{os.sep}") for room in rooms):
        return False
    library = os.path.realpath(sysconfig.get_paths()["stdlib"])
    installed = f"{os.sep}site-packages{os.sep}" in path or f"{os.sep}dist-packages{os.sep}" in path
    return installed or not path.startswith(f"{library}{os.sep}")


def _shown(file: str) -> str:
    """A file as short as it can still be found: relative to the current folder, if it is in it."""
    try:
        return str(Path(file).resolve().relative_to(Path.cwd().resolve()))
    except (OSError, ValueError):
        return file


def printable(text: str) -> str:
    """`text` with what a terminal would obey written out: all but line breaks."""
    if text.isprintable():
        return text
    return "".join(x if x.isprintable() or x == "\n" else repr(x)[1:-1] for x in text)


def shortened(message: str, most: int = LONGEST_MESSAGE) -> str:
    """A message of at most `most` characters: what was found, and at its end what to do, are kept.

    Control characters other than line breaks, which names in a file may have, are written out.
    """
    shown = printable(message[: 2 * most])
    if len(message) <= most and len(shown) <= most:
        return shown
    end = message[-(most // 4) :]
    tail = "".join(one if one.isprintable() or one == "\n" else "?" for one in end)
    head = shown[: most - len(tail) - 60]
    return f"{head} [... {len(message):,} characters in all; ...] {tail}"


# How torch, on its processors and on GPUs, and ONNX Runtime say that there is no memory left.
_LACKS = ("can't allocate memory", "not enough memory", "out of memory",
          "Failed to allocate memory", "Storage size calculation overflowed")  # fmt: skip


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether somebody else's error says that there was not enough memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _LACKS)


_SHOWN = 80  # characters of a value that was given
_REMEDIES = {
    "Fused": "its network is `.module`; edgerep.export_onnx makes a graph of it",
    "Graph": "edgerep made it already: it is for build_engine, export_coreml and verify",
    "Engine": "edgerep made it already: it is for verify and run_bench",
    "CoremlPackage": "edgerep made it already: it is for verify and run_bench",
}


def given(value: object, remedy: str = "") -> str:
    """What was given instead, and what it is for: "a Fused was given: its network is `.module`".

    Args:
        value: What was given.
        remedy: What to do; if empty, what such a value is for.
    """
    kind = type(value).__name__
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    remedy = remedy or _REMEDIES.get(kind, "")
    if (
        not remedy
        and hasattr(value, "state_dict")
        and hasattr(value, "forward")
        and not isinstance(value, type)
    ):
        remedy = "edgerep.fuse and edgerep.export_onnx make a graph of a network"
    shown = "" if len(repr(value)) > _SHOWN else f" ({value!r})"
    return f"{article} {kind} was given{shown}" + (f": {remedy}" if remedy else "")


def path_given(value: object, what: str) -> Path:
    """The path that was given.

    Args:
        value: What was given for it.
        what: It should be, in words: "`path` is where the graph is written".

    Raises:
        OptionError: It is no path.
    """
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise OptionError(f"{what}, and {given(value)}")


class EdgerepError(Exception):
    """Base of every error that edgerep raises on purpose."""

    exit_code: ClassVar[int] = 3


class CheckpointError(EdgerepError):
    """A checkpoint cannot be read, or is not the network it should be."""


class NetworkError(EdgerepError):
    """A network of the user's own cannot be imported, built or run."""


class FusionError(EdgerepError):
    """A network cannot be fused, or what was fused disagrees with what it was made from."""


class OnnxError(EdgerepError):
    """An ONNX graph cannot be written, read or used."""


class EngineError(EdgerepError):
    """An engine cannot be built from its graph, cannot be read, or breaks down when it is run."""


class CoremlError(EdgerepError):
    """A Core ML package cannot be made from its graph exactly, cannot be read, or cannot be run."""


class DataError(EdgerepError):
    """Images or labels given by the user cannot be used."""


class OutputError(EdgerepError):
    """A file cannot be written where it was asked for."""


class OptionError(EdgerepError):
    """Options that are wrong in themselves or contradict each other."""

    exit_code = 2


class ParityError(EdgerepError):
    """An artefact does not agree with its reference."""

    exit_code = 1


class MissingRuntimeError(EdgerepError):
    """A package, driver or device that this step needs is not there."""

    exit_code = 4


class MissingDependencyError(MissingRuntimeError):
    """A Python package is not installed; the message names the extra that brings it.

    Args:
        package: The name under which Python imports it.
        extra: Of edgerep: `pip install 'edgerep[extra]'`.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the Python package `{package}` is not installed, and this step needs it: "
            f"pip install 'edgerep[{extra}]'"
        )
        self.package = package
        self.extra = extra

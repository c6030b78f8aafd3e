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

from typing import ClassVar


def first_line(error: BaseException) -> str:
    """The first line of somebody else's error, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def kind_and_line(error: BaseException) -> str:
    """The kind of somebody else's error and the first line of what it says."""
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"


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

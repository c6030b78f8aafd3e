"""TensorRT and TensorRT-RTX: which of the two is used, loaded as a value, and its log.

Both modules have one API. The one in use is passed around as `trt`, untyped: they ship no type
information, and which one it is is known at run time only.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from edgerep.artefacts.kinds import RUNTIMES
from edgerep.devices import cuda_device_present
from edgerep.errors import MissingDependencyError, MissingRuntimeError, OptionError

logger = logging.getLogger(__name__)

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
# Ultralytics' exporter refuses this one as well (ultralytics/engine/exporter.py).
_BAD_RELEASES = {"10.2.0": "this release is known to be broken: install 10.3 or later"}

_RECENT_LINES = 20
_SEVERITIES = {"INTERNAL_ERROR": "ERROR"}
# The vendor's errors are logged below ERROR: what fails ends in an exception that carries them.
_LEVELS = {"ERROR": logging.INFO, "WARNING": logging.WARNING}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One message of the vendor's log; `severity` is "ERROR", "WARNING", "INFO" or "VERBOSE"."""

    severity: str
    text: str


def choose_runtime(runtime: str) -> str:
    """The runtime to build with: for "auto", TensorRT where it can build, else TensorRT-RTX.

    TensorRT builds on the GPU that the engine is for; TensorRT-RTX builds without one.

    Raises:
        MissingDependencyError: "auto" was asked for, and neither is installed.
        OptionError: `runtime` is neither "auto" nor one of `RUNTIMES`.
    """
    if runtime in RUNTIMES:
        return runtime
    if runtime != "auto":
        raise OptionError(f"runtime {runtime!r} is none of auto, {', '.join(RUNTIMES)}")
    gpu = cuda_device_present()
    if gpu and is_installed("tensorrt"):
        return "tensorrt"
    if is_installed("tensorrt-rtx"):
        return "tensorrt-rtx"
    missing = "tensorrt" if gpu else "tensorrt-rtx"
    raise MissingDependencyError(MODULES[missing], missing)


def is_installed(runtime: str) -> bool:
    """Whether the runtime's module is there; it is not loaded."""
    return importlib.util.find_spec(MODULES[runtime]) is not None


def load_runtime(runtime: str) -> Any:
    """The vendor's module for the runtime "tensorrt" or "tensorrt-rtx", imported.

    Raises:
        MissingDependencyError: The module is not installed.
        MissingRuntimeError: The module cannot be loaded, or is a release known to be bad.
    """
    if not is_installed(runtime):
        raise MissingDependencyError(MODULES[runtime], runtime)
    try:
        trt = importlib.import_module(MODULES[runtime])
    except (ImportError, OSError) as error:  # libraries of the module that are not there
        raise MissingRuntimeError(
            f"the Python package `{MODULES[runtime]}` is installed and cannot be loaded: {error}. "
            f"Install it again: pip install --force-reinstall {runtime}"
        ) from error
    for release, remedy in _BAD_RELEASES.items():
        if runtime == "tensorrt" and f"{trt.__version__}.".startswith(f"{release}."):
            raise MissingRuntimeError(f"{runtime} {trt.__version__} is not used: {remedy}")
    return trt


@functools.cache
def log_of(trt: Any) -> Any:
    """The one logger of a vendor module, passed to every builder, parser and runtime.

    One for the life of the process: the vendor keeps the first logger it sees, complains about
    another, and may write to it from its own threads. Its `recent` holds the last errors and
    warnings.
    """

    class Log(trt.ILogger):  # type: ignore[misc]  # the base class comes from the chosen module
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings refuse super().__init__
            self.listeners: list[list[LogLine]] = []
            self.recent: deque[LogLine] = deque(maxlen=_RECENT_LINES)

        def log(self, severity: Any, message: str) -> None:
            line = LogLine(_SEVERITIES.get(severity.name, severity.name), message.strip())
            if line.severity in _LEVELS:
                self.recent.append(line)
            for listener in self.listeners:
                listener.append(line)
            logger.log(_LEVELS.get(line.severity, logging.DEBUG), "%s", line.text)

    return Log()


@contextlib.contextmanager
def heard(trt: Any) -> Iterator[list[LogLine]]:
    """Yield a list that fills with what the vendor logs inside the block, from whatever thread."""
    lines: list[LogLine] = []
    listeners = log_of(trt).listeners
    listeners.append(lines)
    try:
        yield lines
    finally:
        # By identity: two lists that heard the same are equal.
        listeners[:] = [listener for listener in listeners if listener is not lines]


def last_words(lines: Iterable[LogLine], count: int = 3) -> str:
    """The last `count` errors, or where there are none warnings, a line each, for a message."""
    lines = tuple(lines)
    for severity in ("ERROR", "WARNING"):
        if texts := [line.text for line in lines if line.severity == severity]:
            return "".join(f"\n  {text}" for text in texts[-count:])
    return " (it logged nothing)"

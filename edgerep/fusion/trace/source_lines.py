"""Which line of the user's own code makes a call, and why code cannot be recorded, in words."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

import torch

from edgerep.errors import first_line
from edgerep.fusion.trace.calls import UntraceableError

# Code that stands between a user's line and the node that is made of it.
_NOT_THE_USERS = (
    str(Path(torch.__file__).parent) + os.sep,
    str(Path(__file__).parents[1]) + os.sep,
    str(Path(__file__).parents[2] / "torch_modules") + os.sep,
    "<",
)
# What speaks of the stand-ins for tensors that code is recorded with: no words of the user's.
_OURS = ("Proxy", "Attribute", "torch.fx", "symbolic", "_Shape")


def line_of_caller() -> str | None:
    """The line of the user's code that is running, "file:line"; None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_the_users(frame.f_code):
            return _line(frame, frame.f_lineno)
        frame = frame.f_back
    return None


def why_untraceable(error: Exception) -> str:
    """Why code cannot be recorded, from what it raised, and where it stands."""
    text = str(error) if isinstance(error, UntraceableError) else _in_words(error)
    lines = list(_lines_of(error))
    return f"{text} ({lines[-1]})" if lines else text


def _in_words(error: Exception) -> str:
    text = first_line(error).rstrip(".")
    if any(word in text for word in _OURS) or not text:
        return "it uses the numbers or sizes of a tensor in a way that cannot be recorded"
    return f"its code cannot be recorded: {text}"


def _lines_of(error: Exception) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        if _is_the_users(trace.tb_frame.f_code):
            yield _line(trace.tb_frame, trace.tb_lineno)
        trace = trace.tb_next


@functools.lru_cache(maxsize=1 << 12)
def _is_the_users(code: CodeType) -> bool:
    return not code.co_filename.startswith(_NOT_THE_USERS)


def _line(frame: FrameType, number: int) -> str:
    path = frame.f_code.co_filename
    here = os.getcwd() + os.sep
    return f"{path.removeprefix(here)}:{number}"

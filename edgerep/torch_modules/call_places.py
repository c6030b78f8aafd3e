"""Where a call of torch stands: its name, the module that makes it, the line of source."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgerep.torch_modules.tree import every_path

_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a network's code.

    Attributes:
        module: Path and class of the innermost module that was running; empty where none was.
        line: `file.py:12` of the user's own code, or of torch's where that is all there is.
    """

    module: str
    line: str

    def __str__(self) -> str:
        return " at ".join(part for part in (self.module, self.line) if part)


class Places:
    """The places of the calls of one network.

    Args:
        network: Its modules are called by their paths in it.
    """

    def __init__(self, network: nn.Module) -> None:
        self._paths = {id(part): (path, type(part)) for path, part in reversed(every_path(network))}

    def here(self) -> Place:
        """Where the call stands that is being made."""
        frame = sys._getframe(1)
        module, line, torchs = "", "", ""
        while frame is not None and not (module and line):
            file = frame.f_code.co_filename
            owner = frame.f_locals.get("self")
            if not module and id(owner) in self._paths and isinstance(owner, nn.Module):
                path, kind = self._paths[id(owner)]
                module = f"`{path}` ({kind.__name__})" if path else kind.__name__
            if not line and not file.startswith(_NOT_THE_USERS):
                line = f"{Path(file).name}:{frame.f_lineno}"
            elif module and not torchs and file.startswith(_NOT_THE_USERS[0]):
                torchs = f"{Path(file).name}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]
        return Place(module, line or torchs)


def name_of(func: Callable[..., Any]) -> str:
    """What a function or method of torch is called in code: `dropout`, `Tensor.bernoulli_`."""
    name = str(getattr(func, "__name__", func))
    owner = getattr(func, "__objclass__", None)
    return f"Tensor.{name}" if owner is not None else name

"""The line of a network's code that makes its batch a number while it is traced."""

from __future__ import annotations

import contextlib
import linecache
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.torch_modules.copies import state_kept

_TORCH = str(Path(torch.__file__).parent)
_PYTHON = sysconfig.get_paths()["stdlib"]
_OWN = str(Path(__file__).parent)


def line_that_fixes_the_batch(
    module: nn.Module, examples: Sequence[Tensor], dynamic_shapes: Any
) -> str:
    """Where in the network's code the batch becomes a number, as "head.py:88, `code`".

    The module is traced once more, and torch watched as it settles for a size.

    Args:
        module: In eval mode.
        examples: The inputs that it was traced on.
        dynamic_shapes: As `torch.export` was given them.

    Returns:
        The line; "" where torch does not show it.
    """
    lines: list[str] = []
    try:
        with state_kept(module), _watched(lines):
            torch.export.export(
                module, tuple(examples), dynamic_shapes=dynamic_shapes, strict=False
            )
    except Exception as error:  # code that cannot go on without a number, a look-up by the shape
        lines.append(_line_of_user(traceback.extract_tb(error.__traceback__)))
    return next(filter(None, lines), "")


@contextlib.contextmanager
def _watched(lines: list[str]) -> Iterator[None]:
    """Note the lines at which torch replaces a size by a number, inside the block."""
    from torch.fx.experimental import symbolic_shapes

    sizes: Any = symbolic_shapes.ShapeEnv
    original: Any = getattr(sizes, "_set_replacement", None)  # torch's own affair: may go

    def replaced(self: Any, symbol: Any, by: Any, *rest: Any) -> Any:
        if getattr(by, "is_Integer", False):
            lines.append(_line_of_user(traceback.extract_stack(limit=400)[:-1]))
        return original(self, symbol, by, *rest)

    if original is not None:
        sizes._set_replacement = replaced
    try:
        yield
    finally:
        if original is not None:
            sizes._set_replacement = original


def _line_of_user(stack: Sequence[traceback.FrameSummary]) -> str:
    """The innermost line that is neither torch's nor Python's; "" where edgerep's comes first."""
    for frame in reversed(stack):
        library = frame.filename.startswith((_TORCH, "<"))
        standard = frame.filename.startswith(_PYTHON) and "-packages" not in frame.filename
        if library or standard:
            continue
        if Path(frame.filename).parent == Path(_OWN):
            return ""
        code = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return f"{Path(frame.filename).name}:{frame.lineno}, `{code[:120]}`"
    return ""

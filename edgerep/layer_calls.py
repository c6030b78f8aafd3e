"""Count the convolutions, linear layers and BatchNorms that a run of a network calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = frozenset(
    {torch.conv1d, torch.conv2d, torch.conv3d, functional.conv1d, functional.conv2d,
     functional.conv3d, functional.linear}
)  # fmt: skip


@dataclass(slots=True)
class LayerCalls:
    """Numbers of calls; a linear layer counts as a convolution."""

    convolutions: int = 0
    batchnorms: int = 0


@contextlib.contextmanager
def counted() -> Iterator[LayerCalls]:
    """Count the calls made inside the block, whether a layer is a module or a function."""
    with _Counting() as mode:
        yield mode.calls


class _Counting(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = LayerCalls()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _CONVOLUTIONS:
            self.calls.convolutions += 1
        elif func is functional.batch_norm:
            self.calls.batchnorms += 1
        return func(*args, **(kwargs or {}))

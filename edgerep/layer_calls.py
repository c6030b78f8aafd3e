"""Count the convolutions, linear layers and BatchNorms that one run of a network calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
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


def count_layer_calls(module: nn.Module, inputs: Sequence[Tensor]) -> LayerCalls:
    """Run a network once and count, whether a layer is a module or a function."""
    mode = _Counting()
    with torch.no_grad(), mode:
        module(*inputs)
    return mode.calls


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

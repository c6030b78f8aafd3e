"""Count the convolutions, linear layers and BatchNorms that a run of a network calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.torch_modules.arguments import tensors_in
from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.convolution_cache import CONVOLUTIONS, ConvolutionCache
from edgerep.torch_modules.copies import state_kept


@dataclass(slots=True)
class LayerCalls:
    """Numbers of calls; a linear layer counts as a convolution."""

    convolutions: int = 0
    batchnorms: int = 0


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a network.

    Attributes:
        inputs: As they were before it.
        outputs: Its tensors, in order, whatever held them.
        calls: Of its layers, whether they are modules or functions.
        cache: What it convolved: another run of the same layers need not do it again.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    calls: LayerCalls
    cache: ConvolutionCache


@torch.no_grad()
def observe(module: nn.Module, inputs: Sequence[Tensor]) -> Run:
    """Run a network once and keep what it gave; the network is as it was before."""
    given = [x.clone() for x in inputs]  # it may write to them
    cache = ConvolutionCache()
    with state_kept(module), _Counting(cache) as mode:
        outputs = module(*given)
    return Run(tuple(inputs), tuple(tensors_in(outputs)), mode.calls, cache)


class _Counting(CallMode):
    def __init__(self, cache: ConvolutionCache) -> None:
        super().__init__()
        self.calls = LayerCalls()
        self._cache = cache

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if func in CONVOLUTIONS:
            self.calls.convolutions += 1
            return self._cache.called(func, args, kwargs)
        if func is functional.batch_norm:
            self.calls.batchnorms += 1
        return func(*args, **kwargs)

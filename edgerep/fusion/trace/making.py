"""Tensors that code makes of numbers and buffers while it is recorded, recorded as calls."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from edgerep.torch_modules.call_mode import CallMode

_MAKERS = frozenset(
    {torch.zeros, torch.ones, torch.full, torch.eye, torch.arange, torch.linspace, torch.tensor,
     torch.as_tensor, torch.empty}
)  # fmt: skip
_WRITERS = frozenset({"__setitem__", "set_", "requires_grad_"})


@contextlib.contextmanager
def makers_take_proxies(tracer: fx.Tracer) -> Iterator[None]:
    """Within this context, `torch.zeros(x.shape[0], 8)` and its like are recorded.

    torch refuses a size that is a proxy before it asks anybody who could record the call. So the
    names in torch's own namespace stand, for the time of a recording, for functions that look
    first; what has no proxy among its arguments goes on as it was, in every thread.
    """

    def recording(maker: Any) -> Any:
        @functools.wraps(maker)
        def make(*args: Any, **kwargs: Any) -> Any:
            if any(isinstance(leaf, fx.Proxy) for leaf in tree_leaves((args, kwargs))):
                return tracer.create_proxy("call_function", maker, args, kwargs)
            return maker(*args, **kwargs)

        return make

    for maker in _MAKERS:
        setattr(torch, maker.__name__, recording(maker))
    try:
        yield
    finally:
        for maker in _MAKERS:
            setattr(torch, maker.__name__, maker)


class Making(CallMode):
    """Within this context, what is made of no proxy becomes a proxy all the same.

    A kernel that is put together in place, element by element, is then one tensor of the
    recording, and what is written to it is written there.
    """

    def __init__(self, tracer: fx.Tracer) -> None:
        super().__init__()
        self._tracer: Any = tracer

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        leaves = tree_leaves((args, dict(kwargs)))
        if self._tracer.running or any(isinstance(leaf, fx.Proxy) for leaf in leaves):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        result = func(*args, **kwargs)
        if func in _MAKERS:
            return self._recorded("call_function", func, args, kwargs, result)
        if name in _WRITERS or name.endswith("_") or "out" in kwargs or name == "__get__":
            return result
        if not isinstance(result, Tensor) or any(result is leaf for leaf in leaves):
            return result
        if torch.overrides.is_tensor_method_or_property(func):
            return self._recorded("call_method", name, args, kwargs, result)
        return self._recorded("call_function", func, args, kwargs, result)

    def _recorded(
        self, kind: str, target: Any, args: Any, kwargs: Mapping[str, Any], result: Any
    ) -> Any:
        try:
            return self._tracer.create_proxy(kind, target, args, dict(kwargs))
        except NotImplementedError:  # of an array of numpy's, say, which no graph can hold
            return result

"""Run a float32 network in float64 without making a second copy of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

_suspended: ContextVar[bool] = ContextVar("suspended", default=False)


class Float64Arithmetic(TorchFunctionMode):
    """Within this context, every call computes with float64 tensors.

    `with Float64Arithmetic(): network(images.double())` computes what `network.double()` would,
    while each weight is widened only for the one call that needs it: the extra memory is that of
    the largest layer, and the network is not touched.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if not _suspended.get() and any(map(_is_narrow, _tensors((args, named)))):
            args, named = tree_map_only(Tensor, _widen, (args, named))
        return func(*args, **named)


@contextlib.contextmanager
def as_stored() -> Iterator[None]:
    """Inside `Float64Arithmetic`, compute with tensors of the types that they are stored in."""
    token = _suspended.set(True)
    try:
        yield
    finally:
        _suspended.reset(token)


def _tensors(tree: object) -> Iterator[Tensor]:
    """The tensors among a call's arguments, also inside sequences and mappings."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from _tensors(item)
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))


def _is_narrow(tensor: Tensor) -> bool:
    return tensor.dtype != torch.float64 and tensor.is_floating_point()


def _widen(tensor: Tensor) -> Tensor:
    return tensor.double() if _is_narrow(tensor) else tensor

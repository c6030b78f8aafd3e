"""Run a float32 network in float64 without making a second copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only


class Float64Arithmetic(TorchFunctionMode):
    """Within this context, a call that has a float64 tensor among its arguments is all float64.

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
        tensors = list(_tensors((args, named)))
        if any(t.dtype == torch.float64 for t in tensors) and any(map(_is_narrow, tensors)):
            args, named = tree_map_only(Tensor, _widen, (args, named))
        return func(*args, **named)


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

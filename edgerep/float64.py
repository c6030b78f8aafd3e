"""Run a float32 network in float64 without making a second copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        if _has_float64((args, named)):
            args, named = tree_map_only(Tensor, _widen, (args, named))
        return func(*args, **named)


def _has_float64(tree: object) -> bool:
    found = False

    def look(tensor: Tensor) -> Tensor:
        nonlocal found
        found = found or tensor.dtype == torch.float64
        return tensor

    tree_map_only(Tensor, look, tree)
    return found


def _widen(tensor: Tensor) -> Tensor:
    narrow = tensor.is_floating_point() and tensor.dtype != torch.float64
    return tensor.double() if narrow else tensor

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

from edgerep.small_images import Columns, is_small

_SLICE_ELEMENTS = 1 << 18  # of a kernel: 2 MiB in float64, which stay in a core's cache

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
            if _is_weighty(func, args):
                return _in_slices(args)
            args, named = tree_map_only(Tensor, _widen, (args, named))
        return func(*args, **named)


def _is_weighty(func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """A convolution of a small image by a kernel that need not be wide all at once."""
    return (
        func is torch.conv2d
        and len(args) == 7  # as `nn.Conv2d` calls it
        and not isinstance(args[4], str)
        and args[1].numel() > _SLICE_ELEMENTS
        and is_small(args[0], args[6], args[3])
    )


def _in_slices(args: tuple[Any, ...]) -> Tensor:
    """The convolution, a slice of its output channels at a time, each widened when it is needed."""
    image, weight, bias, stride, padding, dilation, _ = args
    columns = Columns([image.double()], weight.shape[2:], stride, padding, dilation)
    step = max(1, _SLICE_ELEMENTS // weight[0].numel())
    parts = [
        columns.convolve(weight[start : start + step].double())[0]
        for start in range(0, len(weight), step)
    ]
    result = torch.cat(parts, 1)
    return result if bias is None else result + bias.double().reshape(-1, 1, 1)


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

"""Run a float32 network in float64 without a second copy; widen a tensor; distance of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.shared_passes import SharedPasses, is_weighty


class Float64Arithmetic(CallMode):
    """Within this context, every call computes with float64 tensors.

    `with Float64Arithmetic(): network(images.double())` computes what `network.double()` would,
    while each weight is widened only for the one call that needs it: the extra memory is that of
    the largest layer, and the network is not touched.

    Args:
        passes: Images to convolve in the same pass over a kernel.
    """

    def __init__(self, passes: SharedPasses | None = None) -> None:
        super().__init__()
        self._passes = passes or SharedPasses()

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if func is torch.conv2d and not kwargs and is_weighty(args):
            return self._passes.convolved(*args)
        return func(*map(_widened, args), **_widened(dict(kwargs)))


def _widened(value: Any) -> Any:
    """A call's argument, or several in sequences and mappings, with float64 tensors."""
    if isinstance(value, Tensor):
        narrow = value.dtype != torch.float64 and value.is_floating_point()
        return value.double() if narrow else value
    if type(value) is dict:
        return {key: _widened(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(map(_widened, value))
    return tree_map_only(Tensor, _widened, value) if isinstance(value, tuple | list) else value


def widened(tensor: Tensor) -> Tensor:
    """In float64, on the device itself or, where it has none, on the CPU."""
    return tensor.detach().to(float64_device(tensor.device), torch.float64)


def float64_device(device: torch.device) -> torch.device:
    """`device`, or the CPU where it has no float64 (Apple's GPUs)."""
    return torch.device("cpu") if device.type == "mps" else device


def relative_l2(value: Tensor, truth: Tensor) -> float:
    """Relative L2 distance of `value` from `truth`, in float64; 0 for two zeros."""
    truth = truth.detach().double()
    value = value.detach().to(truth.device).double()
    distance = float(torch.linalg.vector_norm(value - truth))
    scale = float(torch.linalg.vector_norm(truth))
    return distance / scale if scale else distance

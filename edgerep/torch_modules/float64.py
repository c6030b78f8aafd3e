"""Run a float32 network in float64 without a second copy; widen a tensor; distance of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from edgerep.torch_modules.call_mode import CallMode
from edgerep.torch_modules.large_kernels import Columns, is_small, kernel_slices

_WEIGHTY = 1 << 16  # numbers of a kernel that are most of what a convolution reads


class Beside:
    """Images that a network's large kernels will be applied to later, by other code.

    They are convolved when a run of the network widens the kernel anyway; who asks for the same
    convolution afterwards is given the result.
    """

    def __init__(self) -> None:
        self._images: dict[int, list[Tensor]] = {}
        self._kernels: list[Tensor] = []  # kept alive, so that an `id` stays its owner's
        self._results: dict[tuple[object, ...], Tensor] = {}

    def expect(self, kernel: Tensor, image: Tensor) -> None:
        """A float64 image [N, C, H, W] that the kernel will be applied to."""
        self._images.setdefault(id(kernel), []).append(image)
        self._kernels.append(kernel)

    def result(self, args: tuple[Any, ...]) -> Tensor | None:
        """What `conv2d(*args)` gives, if it was computed already."""
        return self._results.get(_key(*args)) if self._results else None

    def others(self, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Arguments of the convolutions that should be computed together with this one."""
        image, kernel, *rest = args
        images = self._images.get(id(kernel), ())
        return [(one, kernel, *rest) for one in images if one is not image]

    def keep(self, args: tuple[Any, ...], result: Tensor) -> None:
        """Remember a convolution."""
        self._results[_key(*args)] = result


def _key(image: Tensor, kernel: Tensor, bias: Tensor | None, *rest: Any) -> tuple[object, ...]:
    written = None if image.is_inference() else image._version
    return (id(image), written, id(kernel), id(bias), *map(str, rest))


class Float64Arithmetic(CallMode):
    """Within this context, every call computes with float64 tensors.

    `with Float64Arithmetic(): network(images.double())` computes what `network.double()` would,
    while each weight is widened only for the one call that needs it: the extra memory is that of
    the largest layer, and the network is not touched.

    Args:
        beside: Images to convolve in the same pass over a kernel.
    """

    def __init__(self, beside: Beside | None = None) -> None:
        super().__init__()
        self._beside = beside or Beside()

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if not kwargs and _is_weighty(func, args):
            return self._convolved(args)
        return func(*map(_widened, args), **_widened(dict(kwargs)))

    def _convolved(self, args: tuple[Any, ...]) -> Tensor:
        known = self._beside.result(args)
        if known is not None:
            return known.clone()
        others = [one for one in self._beside.others(args) if _is_weighty(torch.conv2d, one)]
        result, *more = _in_slices(args[1:], [args[0], *(one[0] for one in others)])
        for one, its in zip(others, more, strict=True):
            self._beside.keep(one, its)
        return result


def _is_weighty(func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """A convolution of a small image by a kernel that need not be wide all at once."""
    return (
        func is torch.conv2d
        and len(args) == 7  # as `nn.Conv2d` calls it
        and not isinstance(args[4], str)
        and args[1].dtype != torch.float64
        and args[1].numel() > _WEIGHTY
        and is_small(args[0], args[6], args[3])
    )


def _in_slices(rest: tuple[Any, ...], images: Sequence[Tensor]) -> list[Tensor]:
    """Convolutions, a slice of the output channels at a time, each widened when it is needed."""
    weight, bias, stride, padding, dilation, _ = rest
    wide = [image.double() for image in images]
    columns = Columns(wide, weight.shape[2:], stride, [padding] * len(wide), dilation)
    kernel = weight.detach()
    parts = [kernel[rows] for rows in kernel_slices(len(kernel), kernel[0].numel())]
    buffer = parts[0].new_empty(parts[0].shape, dtype=torch.float64)
    results = columns.images([columns.multiply(buffer[: len(part)].copy_(part)) for part in parts])
    return results if bias is None else [x + bias.double().reshape(-1, 1, 1) for x in results]


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

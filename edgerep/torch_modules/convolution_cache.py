"""Convolve an image by a large kernel once, however many runs of one network ask for it.

Fusing runs a network and its recordings on the same small images. Reading the kernels is most of
what that takes: without the cache, fusing RepVGG takes a seventh to a third more time, and one
block of 2048 channels three quarters more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.torch_modules.arguments import version_of
from edgerep.torch_modules.call_mode import CallMode

CONVOLUTIONS = frozenset(
    {torch.conv1d, torch.conv2d, torch.conv3d, functional.conv1d, functional.conv2d,
     functional.conv3d, functional.linear, torch.conv_transpose1d, torch.conv_transpose2d,
     torch.conv_transpose3d, functional.conv_transpose1d, functional.conv_transpose2d,
     functional.conv_transpose3d}
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Known:
    """One convolution that was computed: `call` is its function, kernel, bias and options."""

    image: Tensor
    call: tuple[Any, ...]
    versions: tuple[int, ...]
    result: Tensor

    def answers(self, image: Tensor, call: tuple[Any, ...]) -> bool:
        return (
            self.versions == _versions(call)
            and len(self.call) == len(call)
            and all(map(_same, self.call, call))
            and torch.equal(self.image, image)
        )


class ConvolutionCache(CallMode):
    """Within this context, convolutions of equal images by the same kernel are computed once.

    Only parameters count as kernels, and only where the kernel has more numbers than image and
    result together: there, comparing images and copying results costs little beside reading the
    kernel. A tensor that was written to since is another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, list[_Known]] = {}  # by the kernel's id, to look at few

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if func not in CONVOLUTIONS or kwargs or not _is_by_a_large_parameter(*args):
            return func(*args, **kwargs)
        image, kernel, *rest = args
        call = (func, kernel, *rest)
        known = self._known.setdefault(id(kernel), [])
        for one in known:
            if one.answers(image, call):
                return one.result.clone()
        result = func(*args)
        if image.numel() + result.numel() <= kernel.numel():
            known.append(_Known(image.clone(), call, _versions(call), result.clone()))
        return result


def _is_by_a_large_parameter(image: Any = None, kernel: Any = None, *rest: Any) -> bool:
    return (
        type(image) is Tensor
        and isinstance(kernel, nn.Parameter)
        and image.numel() <= kernel.numel()
        # Torch does not count what is written to an inference tensor.
        and not any(isinstance(x, Tensor) and x.is_inference() for x in (image, kernel, *rest))
    )


def _versions(call: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(version_of(part) for part in call if isinstance(part, Tensor))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return one is other
    return bool(one == other)

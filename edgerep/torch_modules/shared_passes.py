"""Convolve small images by a large kernel in float64, all of them in one pass over the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgerep.torch_modules.arguments import version_of
from edgerep.torch_modules.large_kernels import Columns, is_small, kernel_slices

_WEIGHTY = 1 << 16  # numbers of a kernel that are most of what a convolution reads


@dataclass(eq=False)
class _Expected:
    """An image that a kernel will be applied to, and what came of it, if that is known."""

    image: Tensor
    kernel: Tensor
    version: int
    options: tuple[Any, ...] = ()  # of the convolution, its bias first
    result: Tensor | None = None

    def answers(self, image: Tensor, kernel: Tensor, options: tuple[Any, ...]) -> bool:
        return (
            self.result is not None
            and self.image is image
            and self.kernel is kernel
            and self.version == version_of(image)
            and self.options[0] is options[0]
            and self.options[1:] == options[1:]
        )


class SharedPasses:
    """Images that a network's large kernels will be applied to later, by other code.

    A run of the network in float64 has to widen every kernel, which is most of what it takes.
    The images that are expected are convolved in the same pass over the kernel, and who asks for
    that convolution afterwards is given the result. Without it, certifying RepVGG-B1 takes a
    quarter more time.
    """

    def __init__(self) -> None:
        self._expected: dict[int, list[_Expected]] = {}  # by the kernel's id, to look at few

    def expect(self, kernel: Tensor, image: Tensor) -> None:
        """Note that a kernel will be applied to an image.

        Args:
            kernel: [C_out, C, h, w], of any floating type.
            image: [N, C, H, W], float64. If it is written to, it counts as another one.
        """
        of_kernel = self._expected.setdefault(id(kernel), [])
        of_kernel.append(_Expected(image, kernel, version_of(image)))

    def convolved(self, image: Tensor, kernel: Tensor, *options: Any) -> Tensor:
        """`torch.conv2d` in float64; the kernel's other images are convolved in the same pass.

        Args:
            image: [N, C, H, W]; a small one (`is_small`).
            kernel: [C_out, C, h, w], narrower than float64.
            options: Bias, stride, padding, dilation and groups, as in torch.

        Returns:
            [N, C_out, H, W] of the caller's own.
        """
        of_kernel = self._expected.get(id(kernel), [])
        for one in of_kernel:
            if one.answers(image, kernel, options):
                return one.result.clone()  # type: ignore[union-attr]
        others = [
            one for one in of_kernel
            if one.image is not image and is_weighty((one.image, kernel, *options))
        ]  # fmt: skip
        every = [image, *(one.image for one in others)]
        result, *more = _in_slices((kernel, *options), every)
        for one, its in zip(others, more, strict=True):
            one.options, one.result = options, its
        return result


def is_weighty(args: tuple[Any, ...]) -> bool:
    """Whether a call of `torch.conv2d` is of a small image by a large kernel in a narrow type.

    Such a kernel need not be wide all at once.
    """
    return (
        len(args) == 7  # as `nn.Conv2d` calls it
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

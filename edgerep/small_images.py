"""Convolve a small image by a large kernel in float64, with only a slice of the kernel at a time.

Such an image has few positions, so the kernel is what there is to read: the image is laid out once
as columns, and every slice of the kernel is multiplied by all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

_POSITIONS = 256  # of all images together; with more, the columns are what there is to read


def is_small(image: Tensor, groups: int, stride: Sequence[int]) -> bool:
    """Whether an image [N, C, H, W] is small enough, and the convolution one of this module's."""
    if image.ndim != 4 or groups != 1:
        return False
    places = image.shape[0] * image.shape[2] * image.shape[3]
    return places <= _POSITIONS * stride[0] * stride[1]


class Columns:
    """An image [N, C, H, W] laid out so that a convolution is one matrix product.

    Args:
        image: Its positions are few.
        size: Taps of the kernel along each axis.
        stride: As in torch.
        padding: As in torch.
        dilation: As in torch.
    """

    def __init__(
        self,
        image: Tensor,
        size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> None:
        columns = functional.unfold(
            image, tuple(size), tuple(dilation), tuple(padding), tuple(stride)
        )  # [N, C * taps, positions]
        self._count = len(image)
        self._flat = columns.transpose(0, 1).reshape(columns.shape[1], -1)
        self._places = [
            (side + 2 * pad - (taps - 1) * step - 1) // jump + 1
            for side, pad, taps, step, jump in zip(
                image.shape[2:], padding, size, dilation, stride, strict=True
            )
        ]

    def convolve(self, kernel: Tensor) -> Tensor:
        """The output channels of a kernel's rows, [rows, C, *size] to [N, rows, H, W]."""
        result = kernel.reshape(len(kernel), -1) @ self._flat
        return result.reshape(len(kernel), self._count, *self._places).transpose(0, 1)

"""Work on a large kernel a slice of its output channels at a time; convolve a small image by it.

A small image has few positions, so the kernel is what there is to read: the image is laid out once
as columns, and every slice of the kernel is multiplied by all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Float64 numbers worked on at a time. 4 MiB stay in a cache, and keep the memory that fusing needs
# beside its result small whatever the size of the layer.
_NUMBERS = 1 << 19
_POSITIONS = 256  # of all images together; with more, the columns are what there is to read


def kernel_slices(outputs: int, each: int) -> Iterator[slice]:
    """The output channels of a kernel in slices, all of about one size.

    Args:
        outputs: How many there are.
        each: Numbers of one of them.
    """
    most = max(1, _NUMBERS // max(1, each))
    step = -(-outputs // -(-outputs // most))
    for start in range(0, outputs, step):
        yield slice(start, min(start + step, outputs))


def is_small(image: Tensor, groups: int, stride: Sequence[int]) -> bool:
    """Whether an image [N, C, H, W] is small enough, and the convolution one of this module's."""
    if image.ndim != 4 or groups != 1:
        return False
    places = image.shape[0] * image.shape[2] * image.shape[3]
    return places <= _POSITIONS * stride[0] * stride[1]


class Columns:
    """Images [N, C, H, W] laid out so that their convolution is one matrix product.

    Args:
        images: Of any sizes; their positions are few.
        size: Taps of the kernel along each axis.
        stride: As in torch.
        paddings: Of each image, as in torch.
        dilation: As in torch.
    """

    def __init__(
        self,
        images: Sequence[Tensor],
        size: Sequence[int],
        stride: Sequence[int],
        paddings: Sequence[Sequence[int]],
        dilation: Sequence[int],
    ) -> None:
        # A position's column in a row: the matrix product is twice as fast that way round.
        laid_out = [
            functional.unfold(image, tuple(size), tuple(dilation), tuple(padding), tuple(stride))
            .transpose(1, 2)
            .flatten(0, 1)
            for image, padding in zip(images, paddings, strict=True)
        ]  # each [N * positions, C * taps]
        self._counts = [len(one) for one in laid_out]
        # A row more, where it fills the registers, makes the product faster.
        spare = int(sum(self._counts) % 4 == 3)
        self._flat = torch.cat([*laid_out, laid_out[0].new_zeros(spare, laid_out[0].shape[1])])
        self._shapes = [
            [len(image)]
            + [
                (side + 2 * pad - (taps - 1) * step - 1) // jump + 1
                for side, pad, taps, step, jump in zip(
                    image.shape[2:], padding, size, dilation, stride, strict=True
                )
            ]
            for image, padding in zip(images, paddings, strict=True)
        ]

    def multiply(self, kernel: Tensor) -> Tensor:
        """Products of a kernel's rows, [rows, C, *size], with every column."""
        return functional.linear(self._flat, kernel.to(self._flat.device).flatten(1))

    def images(self, products: Sequence[Tensor]) -> list[Tensor]:
        """What the products of all slices of a kernel are for each image, [N, rows, H, W]."""
        every = torch.cat([*products], 1)[: sum(self._counts)]
        return [
            part.reshape(*shape, -1).movedim(-1, 1)
            for part, shape in zip(torch.split(every, self._counts), self._shapes, strict=True)
        ]

"""A linear map on an image that can be written as one convolution, or one transposed convolution.

Along each spatial axis, with the image `x` extended to both infinities, by zeros or by what a
padding mode makes of it,

    y[q] = sum over k of kernel[k] * x[stride * q + offset + k]  + bias,      0 <= q < H_out,
    H_out = floor((H + extent) / stride) + 1.

A convolution with padding p and dilation d has offset -p and extent 2p - (k - 1)d - 1; an identity
has offset 0 and extent -1. Offset and extent are independent, so that crops, one-sided padding and
their sums are maps too. A transposed convolution spreads what it reads by `up`,

    y[up * q + offset + k] += kernel[k] * x[q],      H_out = up * H + extent + 1;

with padding p, its offset is -p, and an output padding o makes its extent (k - 1)d - up - 2p + o.
Kernels are lazy: a map costs nothing until its numbers are asked for, and
they come in float64, a slice of the output channels at a time.

Sources: the folding of BatchNorm and parallel branches, X. Ding et al., "RepVGG", CVPR 2021;
asymmetric kernels and crops, X. Ding et al., "ACNet", ICCV 2019; sequences and average pooling,
X. Ding et al., "Diverse Branch Block", CVPR 2021; large kernels, X. Ding et al., "Scaling Up Your
Kernels to 31x31" (RepLKNet), CVPR 2022.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from edgerep.torch_modules.float64 import float64_device, widened
from edgerep.torch_modules.large_kernels import kernel_slices

Axes: TypeAlias = tuple[int, ...]  # one number per spatial axis
Rows: TypeAlias = Callable[[slice], Tensor]
Vector: TypeAlias = Callable[[], Tensor]


@dataclass(frozen=True, eq=False)
class LinearMap:
    """One map; see the module's docstring for what its numbers mean.

    Attributes:
        inputs: Channels of x.
        outputs: Channels of y.
        groups: Both are divided into this many independent groups.
        size: Taps along each spatial axis; empty for a map of vectors, [N, C] (a `Linear`).
        stride: Along each axis.
        offset: Along each axis.
        extent: Along each axis.
        taps: Where the kernel may be other than zero, each a position within `size`.
        rows: Output channels of the kernel, [len(rows), inputs / groups, *size], float64, in
            memory that the caller owns.
        bias: [outputs], float64, to be read only; None for zero.
        words: One description for each branch that was summed: "3x3", "1x1", "identity".
        extension: What continues x beyond its border: "zeros", or a padding mode of torch's,
            "reflect", "replicate" or "circular".
        up: Of a transposed convolution, along each axis; None for any other map.
    """

    inputs: int
    outputs: int
    groups: int
    size: Axes
    stride: Axes
    offset: Axes
    extent: Axes
    taps: frozenset[Axes]
    rows: Rows
    bias: Vector | None
    words: tuple[str, ...]
    extension: str = "zeros"
    up: Axes | None = None

    @property
    def columns(self) -> int:
        """Input channels that one output channel reads."""
        return self.inputs // self.groups

    @property
    def is_depthwise(self) -> bool:
        """Output channel c reads input channel c and no other."""
        return self.groups == self.inputs == self.outputs

    @property
    def is_diagonal(self) -> bool:
        """Each number of the output is one of the input, times a scale: what a BatchNorm does."""
        return self.is_depthwise and self.is_pointwise

    @property
    def is_pointwise(self) -> bool:
        """Each place of the output is made of the same place of the input, and of no other."""
        return (
            self.up is None
            and all(k == 1 for k in self.size)
            and all(s == 1 for s in self.stride)
            and not any(self.offset)
            and all(e == -1 for e in self.extent)
        )

    @functools.cached_property
    def beyond(self) -> str | None:
        """What a tap reads beyond the border at some image size; None where none does."""
        for axis, offset in enumerate(self.offset):
            used = [offset + tap[axis] for tap in self.taps]
            if self.up is None and (min(used) < 0 or max(used) + self.extent[axis] >= 0):
                return self.extension
        return None

    def kernel(self) -> Tensor:
        """All of it, [outputs, inputs / groups, *size], float64."""
        return self.rows(slice(0, self.outputs))

    def slices(self) -> Iterator[slice]:
        """The output channels in slices, the numbers of each small enough to stay in a cache."""
        return kernel_slices(self.outputs, self.columns * math.prod(self.size))

    def padding(self, axis: int) -> tuple[int, int]:
        """Places read before the image's first and behind its last, at most."""
        before = -self.offset[axis]
        return before, self.extent[axis] + self.size[axis] - before

    def input_channels(self, rows: slice) -> Tensor:
        """Which input channel each column of these rows reads, [len(rows), columns]."""
        group = torch.arange(rows.start, rows.stop) // (self.outputs // self.groups)
        return group[:, None] * self.columns + torch.arange(self.columns)


def identity_map(channels: int, axes: int) -> LinearMap:
    """The identity, for images with this many channels and spatial axes."""
    return diagonal_map(None, None, channels, axes)


def diagonal_map(
    scale: Vector | None, shift: Vector | None, channels: int, axes: int, word: str = "identity"
) -> LinearMap:
    """y[c] = scale[c] x[c] + shift[c]: what a BatchNorm in eval mode does.

    Args:
        scale: [channels], float64; None for ones.
        shift: [channels], float64; None for zeros.
        channels: Of both images.
        axes: Spatial ones.
        word: What a branch of nothing else is called.
    """
    shape = (-1,) + (1,) * (1 + axes)

    def rows(wanted: slice) -> Tensor:
        if scale is None:
            return torch.ones(wanted.stop - wanted.start, dtype=torch.float64).reshape(shape)
        return scale()[wanted].reshape(shape).clone()

    return LinearMap(
        inputs=channels,
        outputs=channels,
        groups=channels,
        size=(1,) * axes,
        stride=(1,) * axes,
        offset=(0,) * axes,
        extent=(-1,) * axes,
        taps=frozenset({(0,) * axes}),
        rows=rows,
        bias=shift,
        words=(word,),
    )


def convolution_map(
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    extension: str = "zeros",
) -> LinearMap:
    """A convolution as torch defines it, or with no spatial axes a linear layer.

    Args:
        weight: [outputs, inputs / groups, *k], of any floating type; read when numbers are needed.
        bias: [outputs] or None.
        stride: Along each axis.
        before: Zeros in front of the image along each axis.
        after: Zeros behind it.
        dilation: Distance of neighbouring taps.
        groups: As in torch.
        extension: Torch's padding mode.
    """
    spread = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
    steps = tuple(slice(None, None, d) for d in dilation)

    def rows(wanted: slice) -> Tensor:
        part = weight.detach()[wanted].to(float64_device(weight.device), torch.float64, copy=True)
        if tuple(part.shape[2:]) == spread:
            return part
        spaced = part.new_zeros((*part.shape[:2], *spread))
        spaced[(slice(None), slice(None), *steps)] = part
        return spaced

    return LinearMap(
        inputs=weight.shape[1] * groups,
        outputs=weight.shape[0],
        groups=groups,
        size=spread,
        stride=tuple(stride),
        offset=tuple(-p for p in before),
        extent=tuple(p + q - k for p, q, k in zip(before, after, spread, strict=True)),
        taps=frozenset(
            itertools.product(*(range(0, k, d) for k, d in zip(spread, dilation, strict=True)))
        ),
        rows=rows,
        bias=None if bias is None else (lambda: widened(bias)),
        words=("x".join(map(str, weight.shape[2:])) or "linear",),
        extension=extension,
    )


def average_map(
    channels: int, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], divisor: int
) -> LinearMap:
    """Average pooling that counts its zero padding: a depthwise convolution with equal weights."""
    size = tuple(size)

    def rows(wanted: slice) -> Tensor:
        count = wanted.stop - wanted.start
        return torch.full((count, 1, *size), 1 / divisor, dtype=torch.float64)

    return LinearMap(
        inputs=channels,
        outputs=channels,
        groups=channels,
        size=size,
        stride=tuple(stride),
        offset=tuple(-p for p in padding),
        extent=tuple(2 * p - k for p, k in zip(padding, size, strict=True)),
        taps=frozenset(itertools.product(*map(range, size))),
        rows=rows,
        bias=None,
        words=("avg " + "x".join(map(str, size)),),
    )


def shifted_map(
    channels: int,
    before: Sequence[int],
    after: Sequence[int],
    word: str,
    extension: str = "zeros",
) -> LinearMap:
    """The image continued (or, where negative, pixels cut off) at each end of each axis."""
    axes = len(before)
    plain = identity_map(channels, axes)
    return LinearMap(
        inputs=channels,
        outputs=channels,
        groups=channels,
        size=plain.size,
        stride=plain.stride,
        offset=tuple(-p for p in before),
        extent=tuple(p + q - 1 for p, q in zip(before, after, strict=True)),
        taps=plain.taps,
        rows=plain.rows,
        bias=None,
        words=(word,),
        extension=extension,
    )


def columns_within(part: LinearMap, groups: int, rows: slice) -> Tensor:
    """Where the columns of a map stand once it is written with fewer groups, [rows, columns]."""
    group = torch.arange(rows.start, rows.stop) // (part.outputs // groups)
    return part.input_channels(rows) - group[:, None] * (part.inputs // groups)


def per_axis(function: Callable[..., int], *values: Axes) -> Axes:
    """The function of each axis's numbers, axis by axis."""
    return tuple(function(*each) for each in zip(*values, strict=True))

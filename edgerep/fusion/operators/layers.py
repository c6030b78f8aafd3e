"""The steps that torch's layers are, from their weights and options; None for what is no map."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from edgerep.fusion.algebra.linear_map import (
    LinearMap,
    average_map,
    convolution_map,
    diagonal_map,
    shifted_map,
)
from edgerep.fusion.algebra.transposed import transposed_map
from edgerep.fusion.operators.operation import Node, Step, View
from edgerep.torch_modules.float64 import widened


def convolved(
    view: View,
    source: Node,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    mode: str = "zeros",
) -> Step | None:
    """A convolution; arguments as in torch, `source` the node that it reads.

    Raises:
        ValueError: Stride, padding or dilation are not whole numbers.
    """
    axes = weight.ndim - 2
    if view.axes(source) != axes or not 1 <= axes <= 3 or not isinstance(groups, int):
        return None
    strides, dilations = each_axis(stride, axes), each_axis(dilation, axes)
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(weight.shape[2:], dilations, strict=True)]
        before = tuple(total // 2 for total in totals)
        after = tuple(total - total // 2 for total in totals)
    else:
        before = after = each_axis(padding, axes)
    made = convolution_map(
        weight, bias, stride=strides, before=before, after=after, dilation=dilations, groups=groups,
        extension=mode,
    )  # fmt: skip
    return Step(source, made, is_layer=True)


def spread(
    view: View,
    source: Node,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Step | None:
    """A transposed convolution; arguments as in torch, `source` the node that it reads.

    Raises:
        ValueError: Stride, padding or dilation are not whole numbers.
    """
    axes = weight.ndim - 2
    if view.axes(source) != axes or not 1 <= axes <= 3 or not isinstance(groups, int):
        return None
    made = transposed_map(
        weight, bias, stride=each_axis(stride, axes), padding=each_axis(padding, axes),
        output_padding=each_axis(output_padding, axes), dilation=each_axis(dilation, axes),
        groups=groups,
    )  # fmt: skip
    return Step(source, made, is_layer=True)


def linear_step(view: View, source: Node, weight: Tensor, bias: Tensor | None) -> Step | None:
    """A linear layer on vectors [N, C]; weight [outputs, inputs], bias [outputs] or None."""
    if view.axes(source) != 0:
        return None
    return Step(source, linear_map(weight, bias), is_layer=True)


def linear_map(weight: Tensor, bias: Tensor | None) -> LinearMap:
    """A linear layer as a map of vectors; weight [outputs, inputs], bias [outputs] or None."""
    return convolution_map(weight, bias, stride=(), before=(), after=(), dilation=(), groups=1)


def normalised(
    view: View,
    source: Node,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Step | None:
    """A BatchNorm in eval mode; every tensor [channels], weight and bias None where it has none."""
    if mean is None or variance is None:
        return None  # it takes the statistics of the batch: no fixed map
    made = normalising_map(
        mean, variance, weight, bias, eps, view.channels(source), view.axes(source)
    )
    return Step(source, made, is_batchnorm=True)


def normalising_map(
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    channels: int,
    axes: int,
) -> LinearMap:
    """What a BatchNorm in eval mode does to values of `axes` spatial axes; tensors [channels]."""

    @functools.cache
    def scale() -> Tensor:
        plain = (widened(variance) + eps).rsqrt()
        return plain if weight is None else plain * widened(weight)

    @functools.cache
    def shift() -> Tensor:
        moved = -widened(mean) * scale()
        return moved if bias is None else moved + widened(bias)

    return diagonal_map(scale, shift, channels, axes)


def averaged(
    view: View,
    source: Node,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: Any,
) -> Step | None:
    """Average pooling; arguments as in torch.

    Raises:
        ValueError: Size, stride or padding are not whole numbers.
    """
    axes = view.axes(source)
    size = each_axis(kernel_size, axes)
    strides = size if stride in (None, ()) or stride == [] else each_axis(stride, axes)
    pads = each_axis(padding, axes)
    if any(pads) and not count_include_pad and divisor is None:
        return None  # the border is divided by another number than the inside
    if not isinstance(divisor, int | None):
        return None  # known when the network runs
    if ceil_mode and any(step > 1 for step in strides):
        return None  # depends on the size of the image
    made = average_map(view.channels(source), size, strides, pads, divisor or math.prod(size))
    return Step(source, made, is_layer=True, pools=True)


def padded(view: View, source: Node, padding: Any, value: Any, mode: str = "zeros") -> Step | None:
    """Padding, or where negative a crop; arguments as in `functional.pad`."""
    axes = view.axes(source)
    flat = list(padding) if isinstance(padding, list | tuple) else [padding] * (2 * axes)
    if not all(isinstance(number, int) for number in flat):
        return None  # known when the network runs
    if len(flat) % 2 or len(flat) > 2 * axes or not isinstance(value, int | float | None):
        return None
    flat += [0] * (2 * axes - len(flat))
    before, after = tuple(flat[0::2][::-1]), tuple(flat[1::2][::-1])
    word = "crop" if min(flat) < 0 else "pad" if mode == "zeros" else f"{mode} pad"
    channels = view.channels(source)
    fill = None
    if value:
        fill = torch.full((channels,), float(value), dtype=torch.float64)
    return Step(source, shifted_map(channels, before, after, word, mode), fill=fill)


def each_axis(value: Any, axes: int) -> tuple[int, ...]:
    """An option of torch's layers, one number or one for each axis, as one for each axis.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(value, int | list | tuple):  # a size that is known when the network runs
        raise ValueError(f"{value} is not one number, or {axes} of them")
    numbers = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(numbers) == 1 and axes > 1:
        numbers *= axes
    if len(numbers) != axes or not all(isinstance(number, int) for number in numbers):
        raise ValueError(f"{value} is not one number, or {axes} of them")
    return numbers

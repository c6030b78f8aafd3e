"""Some channels of an image as a map of it, and maps of one image side by side.

A part of the channels, a convolution of it, and both put together again are one map: the partial
convolution of J. Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks"
(FasterNet), CVPR 2023. Heads that read one image and are concatenated are one, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from edgerep.fusion.algebra.linear_map import LinearMap, Vector, identity_map
from edgerep.fusion.algebra.sums import total

_MOST_NUMBERS = 1 << 22  # of a kernel that is looked at for groups


def selected_channels(channels: int, start: int, stop: int, axes: int) -> LinearMap:
    """The channels from `start` to `stop` of an image, all of its places."""

    def rows(wanted: slice) -> Tensor:
        count = wanted.stop - wanted.start
        kernel = torch.zeros((count, channels, *(1,) * axes), dtype=torch.float64)
        at = torch.arange(count)
        kernel[at, at + start + wanted.start] = 1
        return kernel

    return replace(
        identity_map(channels, axes), outputs=stop - start, groups=1, rows=rows, words=("channels",)
    )


def concatenated(parts: Sequence[LinearMap]) -> LinearMap:
    """Maps of one image, their channels one behind another.

    Raises:
        ValueError: The maps give images of different sizes, or a transposed convolution is among
            them.
    """
    outputs = sum(part.outputs for part in parts)
    if any(part.up is not None for part in parts):
        raise ValueError("one of what is concatenated is a transposed convolution")
    start, lifted = 0, []
    for part in parts:
        lifted.append((1.0, _lifted(part, start, outputs)))
        start += part.outputs
    return total(lifted)


def with_groups(whole: LinearMap) -> LinearMap:
    """A map with as many groups as its numbers allow; itself where it is too large to be seen."""
    if whole.groups != 1 or whole.outputs * whole.columns * math.prod(whole.size) > _MOST_NUMBERS:
        return whole
    read = whole.kernel().flatten(2).any(2) if whole.size else whole.kernel() != 0
    most = math.gcd(whole.inputs, whole.outputs)
    for groups in range(most, 1, -1):
        if most % groups == 0 and _is_in_blocks(read, groups):
            return _regrouped(whole, groups)
    return whole


def _lifted(part: LinearMap, start: int, outputs: int) -> LinearMap:
    """A map among `outputs` channels, of which the others are zero."""

    def rows(wanted: slice) -> Tensor:
        first = max(wanted.start, start)
        last = min(wanted.stop, start + part.outputs)
        count = wanted.stop - wanted.start
        if first >= last:
            return torch.zeros((count, part.inputs, *part.size), dtype=torch.float64)
        inner = slice(first - start, last - start)
        numbers = part.rows(inner)
        kernel = numbers.new_zeros((count, part.inputs, *part.size))
        row = torch.arange(first - wanted.start, last - wanted.start, device=numbers.device)
        kernel[row[:, None], part.input_channels(inner).to(numbers.device)] = numbers
        return kernel

    return replace(
        part, outputs=outputs, groups=1, rows=rows, bias=_lifted_bias(part, start, outputs)
    )


def _lifted_bias(part: LinearMap, start: int, outputs: int) -> Vector | None:
    constant = part.bias
    if constant is None:
        return None

    def bias() -> Tensor:
        numbers = constant()
        whole = numbers.new_zeros(outputs)
        whole[start : start + part.outputs] = numbers
        return whole

    return bias


def _is_in_blocks(read: Tensor, groups: int) -> bool:
    """Whether each group of outputs reads its own group of inputs alone; `read` is [out, in]."""
    outputs, inputs = read.shape
    blocks = read.reshape(groups, outputs // groups, groups, inputs // groups)
    crossed = blocks.any(3).any(1)  # [group of outputs, group of inputs]
    crossed.fill_diagonal_(False)
    return not bool(crossed.any())


def _regrouped(whole: LinearMap, groups: int) -> LinearMap:
    columns, per_group = whole.inputs // groups, whole.outputs // groups

    def rows(wanted: slice) -> Tensor:
        numbers = whole.rows(wanted)
        group = torch.arange(wanted.start, wanted.stop) // per_group
        at = group[:, None] * columns + torch.arange(columns)
        row = torch.arange(at.shape[0])[:, None]
        return numbers[row.to(numbers.device), at.to(numbers.device)]

    return replace(whole, groups=groups, rows=rows)

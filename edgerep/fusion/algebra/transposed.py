"""Transposed convolutions: as maps, as layers, and the layout of their weights.

The algebra keeps every kernel by its output channels, [outputs, inputs / groups, *size]; torch
keeps those of transposed convolutions by their input channels, [inputs, outputs / groups, *size].

Source: V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from edgerep.fusion.algebra.linear_map import LinearMap, convolution_map, per_axis
from edgerep.torch_modules.float64 import float64_device, widened


def transposed_map(
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> LinearMap:
    """A transposed convolution as torch defines it.

    One without a stride is a convolution by the mirrored kernel, and that is what it becomes where
    it gives no more places than it reads: with more, a convolution would multiply more often.

    Args:
        weight: [inputs, outputs / groups, *k], of any floating type; read when numbers are needed.
        bias: [outputs] or None.
        stride: Along each axis.
        padding: Places cut off at both ends of the result.
        output_padding: Places more behind the last.
        dilation: Distance of neighbouring taps.
        groups: As in torch.
    """
    spread = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
    before = per_axis(lambda k, p: k - 1 - p, spread, tuple(padding))
    after = per_axis(lambda b, o: b + o, before, tuple(output_padding))
    grown = max(a + b - k + 1 for a, b, k in zip(before, after, spread, strict=True))
    if all(step == 1 for step in stride) and grown <= 0:
        mirrored = by_outputs(weight, groups).flip(*range(2, weight.ndim))
        return convolution_map(
            mirrored, bias, stride=stride, before=before, after=after, dilation=dilation,
            groups=groups,
        )  # fmt: skip
    steps = tuple(slice(None, None, d) for d in dilation)

    def rows(wanted: slice) -> Tensor:
        part = by_outputs(weight.detach(), groups)[wanted]
        part = part.to(float64_device(weight.device), torch.float64, copy=True)
        spaced = part.new_zeros((*part.shape[:2], *spread))
        spaced[(slice(None), slice(None), *steps)] = part
        return spaced

    return LinearMap(
        inputs=weight.shape[0],
        outputs=weight.shape[1] * groups,
        groups=groups,
        size=spread,
        stride=(1,) * len(spread),
        offset=tuple(-p for p in padding),
        extent=per_axis(
            lambda k, u, p, o: k - 1 - u - 2 * p + o,
            spread, tuple(stride), tuple(padding), tuple(output_padding),
        ),
        taps=frozenset(
            itertools.product(*(range(0, k, d) for k, d in zip(spread, dilation, strict=True)))
        ),
        rows=rows,
        bias=None if bias is None else (lambda: widened(bias)),
        words=("transposed " + "x".join(map(str, weight.shape[2:])),),
        up=tuple(stride),
    )  # fmt: skip


def by_outputs(weight: Tensor, groups: int) -> Tensor:
    """A transposed convolution's weight by its output channels; a view of it with one group."""
    return weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)


def by_inputs(kernel: Tensor, groups: int) -> Tensor:
    """A kernel [outputs, inputs / groups, *k] in the layout that torch's function takes."""
    return kernel.reshape(groups, -1, *kernel.shape[1:]).transpose(1, 2).flatten(0, 1)


def settled_transposed_axis(
    source: LinearMap, axis: int, up: int
) -> tuple[int, int, int, tuple[int, int], int]:
    """(size, padding, dilation, margins, output padding) along one axis.

    A zero tap in front, with one more place cut off there, makes the output padding one more; one
    behind makes it one less. Neither changes what is computed.
    """
    used = sorted({tap[axis] for tap in source.taps})
    offset = source.offset[axis] + used[0]
    lead = max(offset, 0)
    length = used[-1] - used[0] + 1 + lead
    padding = lead - offset
    more = source.extent[axis] + 1 + up + 2 * padding - length
    front = max(-more, 0)
    lead, length, padding, more = lead + front, length + front, padding + front, more + front
    trail = max(more - (up - 1), 0)
    length, more = length + trail, more - trail
    step = math.gcd(length - 1, *(tap - used[0] + lead for tap in used)) or 1
    margins = (lead - used[0], trail - (source.size[axis] - 1 - used[-1]))
    return (length - 1) // step + 1, padding, step, margins, more

"""The sum of linear maps of one image."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgerep.fusion.algebra.linear_map import (
    Axes,
    LinearMap,
    Rows,
    Vector,
    columns_within,
    per_axis,
)


def total(terms: Sequence[tuple[float, LinearMap]], shift: Vector | None = None) -> LinearMap:
    """The sum of `coefficient * map` over maps of one image, plus a constant per channel.

    Raises:
        ValueError: The maps give images of different sizes.
    """
    first = terms[0][1]
    for _, part in terms:
        if (part.up is None) != (first.up is None):
            raise ValueError("one of its branches is a transposed convolution, and another none")
        if (part.stride, part.extent, part.up) != (first.stride, first.extent, first.up):
            raise ValueError("its branches give the same size only for some image sizes")
        if (part.inputs, part.outputs) != (first.inputs, first.outputs):
            raise ValueError("its branches have different channels")
    beyond = {part.beyond for _, part in terms} - {None}
    if len(beyond) > 1:
        raise ValueError("its branches continue the image in different ways beyond the border")
    offset = per_axis(_least, *(part.offset for _, part in terms))
    ends = [per_axis(lambda o, k: o + k, part.offset, part.size) for _, part in terms]
    size = per_axis(lambda end, start: end - start, per_axis(_most, *ends), offset)
    margins = [per_axis(lambda o, start: o - start, part.offset, offset) for _, part in terms]
    groups = math.gcd(*(part.groups for _, part in terms))
    biases = [(by, part.bias) for by, part in terms if part.bias is not None]

    @functools.cache
    def bias() -> Tensor:
        parts = [by * of() for by, of in biases]
        if shift is not None:
            parts.append(shift())
        return torch.stack(parts).sum(0)

    return LinearMap(
        inputs=first.inputs,
        outputs=first.outputs,
        groups=groups,
        size=size,
        stride=first.stride,
        offset=offset,
        extent=first.extent,
        taps=frozenset(
            per_axis(lambda tap, margin: tap + margin, tap, margin)
            for (_, part), margin in zip(terms, margins, strict=True)
            for tap in part.taps
        ),
        rows=_sum_of_rows(terms, margins, size, groups),
        bias=bias if biases or shift is not None else None,
        words=tuple(word for _, part in terms for word in part.words),
        extension=next(iter(beyond), None) or "zeros",
        up=first.up,
    )


def constant(vector: Tensor | None) -> Vector | None:
    """A vector that is there already, as one that is asked for."""
    return None if vector is None else lambda: vector


def _sum_of_rows(
    terms: Sequence[tuple[float, LinearMap]],
    margins: Sequence[Axes],
    size: Axes,
    groups: int,
) -> Rows:
    # The largest kernel is what the others are added into: it is not copied.
    order = sorted(
        range(len(terms)), key=lambda i: -terms[i][1].columns * math.prod(terms[i][1].size)
    )
    columns = terms[0][1].inputs // groups

    def rows(wanted: slice) -> Tensor:
        kernel: Tensor | None = None
        for index in order:
            by, part = terms[index]
            numbers = part.rows(wanted)
            if by != 1:
                numbers *= by
            if kernel is None and part.groups == groups and part.size == size:
                kernel = numbers
                continue
            if kernel is None:
                kernel = numbers.new_zeros((numbers.shape[0], columns, *size))
            window = tuple(
                slice(margin, margin + k)
                for margin, k in zip(margins[index], part.size, strict=True)
            )
            numbers = numbers.to(kernel.device)
            if part.groups == groups:
                inner: Any = (slice(None), slice(None), *window)
                kernel[inner].add_(numbers)  # `+=` would also copy the window onto itself
            else:
                at = columns_within(part, groups, wanted).to(kernel.device)
                row = torch.arange(numbers.shape[0], device=kernel.device)[:, None]
                place: Any = (row, at, *window)
                kernel[place] += numbers
        if kernel is None:
            raise ValueError("a sum of no maps")
        return kernel

    return rows


def _least(*numbers: int) -> int:
    return min(numbers)


def _most(*numbers: int) -> int:
    return max(numbers)

"""One linear map after another, and when that is exact at the border of the image.

A sequence of two zero-padded convolutions is one zero-padded convolution only if the second never
reads, outside the image that the first gives, anything but what the first's formula would give
there. `inexact` decides that for every image size at once, from the numbers of the two maps.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace
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

# A padding value that a module computed from the same BatchNorm, perhaps in its own type, is the
# BatchNorm's constant; the certificate measures what the difference amounts to.
_SAME_VALUE = 1e-6


def inexact(outer: LinearMap, inner: LinearMap, fill: Tensor | None = None) -> str | None:
    """Why `outer` after `inner` is no single convolution, or None where it is one exactly.

    Args:
        outer: Applied second.
        inner: Applied first.
        fill: What `outer` reads outside the image, [channels] float64; None for what its own
            extension says.
    """
    if outer.is_pointwise:
        return None  # reads nothing outside the image
    if outer.up is not None:
        return _inexact_transposed(inner)
    if inner.up is not None:
        return None if _is_crop(outer) else "it follows a transposed convolution"
    if outer.beyond not in (None, "zeros"):
        # A reflected place is a place of the image: what is done to each place alone commutes.
        return None if inner.is_pointwise else "it pads what a convolution gives with parts of it"
    if inner.beyond not in (None, "zeros") and outer.beyond is not None:
        return "it pads what a padded convolution gives"
    reads = False
    for axis in range(len(outer.size)):
        before, after = outer.padding(axis)
        first = min(tap[axis] for tap in inner.taps) + inner.offset[axis]
        last = max(tap[axis] for tap in inner.taps) + inner.offset[axis]
        if before > 0 and last >= inner.stride[axis]:
            return "it pads what a padded convolution gives"
        if after > 0 and inner.extent[axis] + 1 + first < 0:
            return "it pads what a padded convolution gives"
        reads = reads or before > 0 or after > 0
    if not reads:
        return None
    if inner.bias is None:
        same = fill is None or not bool(fill.any())
    elif fill is None:
        same = not bool(inner.bias().any())
    else:
        constant = inner.bias()
        scale = float(constant.abs().max())
        same = torch.allclose(constant, fill, rtol=_SAME_VALUE, atol=1e-12 * scale)
    return None if same else "it pads with another value than the constant added before it"


def _inexact_transposed(inner: LinearMap) -> str | None:
    """Why a transposed convolution after `inner` is none."""
    if not inner.is_pointwise:
        return "a transposed convolution follows what is none"
    if inner.bias is not None and bool(inner.bias().any()):
        return "a transposed convolution spreads the constant added before it unevenly"
    return None


def _is_crop(outer: LinearMap) -> bool:
    """Whether a map makes each place of one place, cutting off what is at the ends."""
    return (
        outer.up is None
        and all(k == 1 for k in outer.size)
        and all(s == 1 for s in outer.stride)
        and outer.beyond is None
    )


def after(outer: LinearMap, inner: LinearMap) -> LinearMap:
    """`outer` applied to the result of `inner`; the caller has asked `inexact`.

    Nested floors: with H1 = floor((H + e1) / s1) + 1 the size after both is
    floor((H + e1 + s1 (e2 + 1)) / (s1 s2)) + 1, exactly.
    """
    if outer.inputs != inner.outputs or len(outer.size) != len(inner.size):
        raise ValueError(
            f"a map of {outer.inputs} channels cannot follow one that gives {inner.outputs}"
        )
    if outer.is_diagonal:
        return replace(
            inner, outputs=outer.outputs, rows=_outer_depthwise(outer, inner),
            bias=_bias_after(outer, inner),
        )  # fmt: skip
    if inner.is_diagonal:
        return replace(
            outer, inputs=inner.inputs, rows=_inner_depthwise(outer, inner),
            bias=_bias_after(outer, inner),
        )  # fmt: skip
    steps, turned = inner.stride, -1 if inner.up else 1
    if outer.is_depthwise:
        groups, rows = inner.groups, _outer_depthwise(outer, inner)
    elif inner.is_depthwise:
        groups, rows = outer.groups, _inner_depthwise(outer, inner)
    else:
        groups = math.gcd(outer.groups, inner.groups)
        rows = _dense(outer, inner, groups)
    return LinearMap(
        inputs=inner.inputs,
        outputs=outer.outputs,
        groups=groups,
        size=per_axis(lambda k2, s1, k1: s1 * (k2 - 1) + k1, outer.size, steps, inner.size),
        stride=per_axis(lambda s1, s2: s1 * s2, steps, outer.stride),
        offset=per_axis(
            lambda o2, s1, o1: turned * s1 * o2 + o1, outer.offset, steps, inner.offset
        ),
        extent=per_axis(lambda e2, s1, e1: e1 + s1 * (e2 + 1), outer.extent, steps, inner.extent),
        taps=frozenset(
            per_axis(lambda b, s1, a: s1 * b + a, far, steps, near)
            for far, near in itertools.product(outer.taps, inner.taps)
        ),
        rows=rows,
        bias=_bias_after(outer, inner),
        words=_words_after(outer, inner),
        extension=(outer if outer.beyond else inner).extension,
        up=outer.up or inner.up,
    )


def _outer_depthwise(outer: LinearMap, inner: LinearMap) -> Rows:
    def rows(wanted: slice) -> Tensor:
        by, numbers = outer.rows(wanted), inner.rows(wanted)
        if outer.size == (1,) * len(outer.size):
            return numbers.mul_(by.to(numbers.device))  # a BatchNorm: [rows, 1, 1, 1]
        return _spread(by.to(numbers.device), numbers, outer, inner)

    return rows


def _inner_depthwise(outer: LinearMap, inner: LinearMap) -> Rows:
    def rows(wanted: slice) -> Tensor:
        numbers, by = outer.rows(wanted), inner.kernel()
        by = by.to(numbers.device)[outer.input_channels(wanted), 0]  # [rows, columns, *size]
        if all(k == 1 for k in inner.size) and all(s == 1 for s in inner.stride):
            return numbers.mul_(by)  # with a stride, the taps of `outer` move apart
        return _spread(numbers, by, outer, inner)

    return rows


def _spread(far: Tensor, near: Tensor, outer: LinearMap, inner: LinearMap) -> Tensor:
    """Place `near`, scaled by each tap of `far`, at that tap: [rows, columns, *size]."""
    size = per_axis(lambda k2, s1, k1: s1 * (k2 - 1) + k1, outer.size, inner.stride, inner.size)
    columns = max(far.shape[1], near.shape[1])
    kernel = near.new_zeros((near.shape[0], columns, *size))
    for tap in outer.taps:
        window = _window(tap, inner)
        weight = far[_at(tap)]
        kernel[_at(window)] += near * weight[(..., *([None] * len(tap)))]
    return kernel


def _dense(outer: LinearMap, inner: LinearMap, groups: int) -> Rows:
    """Matrix products over the channels between the two maps, group by group, tap by tap."""
    middle, columns = inner.outputs // groups, inner.inputs // groups
    size = per_axis(lambda k2, s1, k1: s1 * (k2 - 1) + k1, outer.size, inner.stride, inner.size)
    whole = functools.cache(lambda: _regrouped(inner, groups, slice(0, inner.outputs)))

    def rows(wanted: slice) -> Tensor:
        far = _regrouped(outer, groups, wanted)  # [rows, middle, *k2]
        near = whole().to(far.device)  # [outputs of inner, columns, *k1]
        kernel = far.new_zeros((far.shape[0], columns, *size))
        per_group = outer.outputs // groups
        for group in range(wanted.start // per_group, (wanted.stop - 1) // per_group + 1):
            first = max(wanted.start, group * per_group) - wanted.start
            last = min(wanted.stop, (group + 1) * per_group) - wanted.start
            block = near[group * middle : (group + 1) * middle]
            for tap in outer.taps:
                weight = far[_at(tap, slice(first, last))]  # [rows, middle]
                product = (weight @ block.reshape(middle, -1)).reshape(-1, *block.shape[1:])
                kernel[_at(_window(tap, inner), slice(first, last))] += product
        return kernel

    return rows


def _regrouped(part: LinearMap, groups: int, rows: slice) -> Tensor:
    """Rows of a map written with fewer groups, zeros where it reads nothing."""
    numbers = part.rows(rows)
    if part.groups == groups:
        return numbers
    wide = numbers.new_zeros((numbers.shape[0], part.inputs // groups, *part.size))
    row = torch.arange(numbers.shape[0], device=numbers.device)[:, None]
    wide[row, columns_within(part, groups, rows).to(numbers.device)] = numbers
    return wide


def _bias_after(outer: LinearMap, inner: LinearMap) -> Vector | None:
    constant = inner.bias
    if constant is None:
        return outer.bias

    @functools.cache
    def bias() -> Tensor:
        before = constant()
        parts = []
        for rows in outer.slices():
            numbers = outer.rows(rows).flatten(2).sum(2) if outer.size else outer.rows(rows)
            channels = outer.input_channels(rows).to(before.device)
            parts.append((numbers.to(before.device) * before[channels]).sum(1))
        result = torch.cat(parts)
        return result if outer.bias is None else result + outer.bias().to(result.device)

    return bias


def _words_after(outer: LinearMap, inner: LinearMap) -> tuple[str, ...]:
    far = outer.words[0] if len(outer.words) == 1 else f"({' + '.join(outer.words)})"
    return tuple(f"{near} then {far}" for near in inner.words)


def _window(tap: Axes, inner: LinearMap) -> tuple[slice, ...]:
    return tuple(
        slice(s1 * b, s1 * b + k1) for b, s1, k1 in zip(tap, inner.stride, inner.size, strict=True)
    )


def _at(place: tuple[Any, ...], rows: slice = slice(None)) -> Any:
    """Index of a place, or a window, in all columns of a kernel's rows."""
    return (rows, slice(None), *place)

"""Resize: images made larger or smaller.

MIL's own operations are taken where their documentation promises the samples that ONNX takes. Else
a nearest pixel is a `gather` with indices that are worked out here, and linear and cubic
interpolation are a product with a matrix per axis: exact on every version of Core ML.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgerep.export.coreml.node import OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb, types
from edgerep.export.coreml.sampling import (
    COORDINATES,
    ROUNDINGS,
    Indices,
    ResizedAxis,
    cubic_weights,
    linear_weights,
    nearest,
    positions,
)
from edgerep.export.coreml.sizes import as_size, is_known

# MIL's sampling mode with the positions of ONNX's coordinate mode, where the scale is
# target / size: UNALIGN_CORNERS begins at half a spacing less half a pixel, DEFAULT at 0.
_SAMPLING = {
    "half_pixel": "UNALIGN_CORNERS",
    "pytorch_half_pixel": "UNALIGN_CORNERS",
    "asymmetric": "DEFAULT",
    "align_corners": "STRICT_ALIGN_CORNERS",
}
_PIXELS_APART = 1e-4  # that positions of the two may be: float32 on sides up to a thousand


def resize(node: OnnxNode) -> Var:
    x = node.data(0)
    for attribute, only in (("antialias", 0), ("keep_aspect_ratio_policy", "stretch")):
        node.require(attribute, only)
    coordinates = node.get("coordinate_transformation_mode", "half_pixel")
    mode = node.get("mode", "nearest")
    if coordinates not in COORDINATES:
        node.refuse(f"its coordinates are {coordinates}; Core ML has {', '.join(COORDINATES)}")
    if mode not in ("nearest", "linear", "cubic"):
        node.refuse(f"its mode is {mode}; Core ML has nearest, linear and cubic")
    if types.is_int(x.dtype) and mode != "nearest":
        node.refuse("it interpolates whole numbers, which Core ML does not")
    axes = _resized(node, x)
    if not axes:
        return x
    if mode == "nearest":
        return _nearest(node, x, axes, coordinates)
    if mode == "linear" and _is_resize_bilinear(x, axes, coordinates):
        height, width = (
            next((a.target for a in axes if a.axis == axis), x.shape[axis])
            for axis in (x.rank - 2, x.rank - 1)
        )
        return mb.resize_bilinear(
            x=x, target_size_height=int(height), target_size_width=int(width),
            sampling_mode=_SAMPLING[coordinates], name=node.result,
        )  # fmt: skip
    outside = bool(node.get("exclude_outside", 0))
    a = float(node.get("cubic_coeff_a", -0.75))
    matrices = [
        linear_weights(axis, coordinates)
        if mode == "linear"
        else cubic_weights(axis, coordinates, a, exclude_outside=outside)
        for axis in axes
    ]
    return _interpolated(node, x, axes, matrices)


def _resized(node: OnnxNode, x: Var) -> list[ResizedAxis]:
    """The axes whose numbers do not all stay where they are."""
    named = node.get("axes", None)
    axes = [axis % x.rank for axis in named] if named is not None else list(range(x.rank))
    if node.has(3) and node.inputs[3].shape[0]:
        targets = [as_size(size) for size in node.sizes(3)]
        scales: Sequence[Any] = [None] * len(targets)
    elif node.has(2) and node.known(2).size:
        scales = [float(scale) for scale in node.known(2).reshape(-1)]
        targets = [_scaled(x.shape[a], s) for a, s in zip(axes, scales, strict=True)]
    else:
        node.refuse("it has neither scales nor sizes")
    found = []
    for axis, target, scale in zip(axes, targets, scales, strict=True):
        size = x.shape[axis]
        if target == size and scale in (None, 1.0):
            continue
        if not is_known(size) or target is None or not is_known(target):
            node.refuse("it resizes the batch")
        ratio = float(np.float32(target) / np.float32(size)) if scale is None else scale
        found.append(ResizedAxis(axis, int(size), int(target), ratio))
    return found


def _scaled(size: Any, scale: float) -> Any:
    """The size times the scale, rounded down, in float32 as runtimes do; None if it is open."""
    if is_known(size):
        return int(np.floor(np.float32(int(size)) * np.float32(scale)))
    return size if scale == 1 else None


def _nearest(node: OnnxNode, x: Var, axes: Sequence[ResizedAxis], coordinates: str) -> Var:
    rounding = node.get("nearest_mode", "round_prefer_floor")
    if rounding not in ROUNDINGS:
        node.refuse(f"its nearest_mode is {rounding}; Core ML has {', '.join(ROUNDINGS)}")
    chosen = {a.axis: nearest(a, coordinates, rounding) for a in axes}
    factors = {a.axis: _repeats(chosen[a.axis], a.size) for a in axes}
    spatial = (x.rank - 2, x.rank - 1)
    kept = set(chosen) <= set(spatial) and not types.is_int(x.dtype)
    if x.rank > 2 and kept and None not in factors.values():
        height, width = (factors.get(axis, 1) for axis in spatial)
        return mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=height, scale_factor_width=width, name=node.result
        )
    for number, (axis, indices) in enumerate(chosen.items(), start=1):
        name = node.result if number == len(chosen) else f"{node.result}_axis{axis}"
        x = mb.gather(x=x, indices=indices, axis=axis, name=name)
    return x


def _repeats(indices: Indices, size: int) -> int | None:
    """How often each of `size` pixels is repeated, if alike and in order; else None."""
    factor, rest = divmod(len(indices), size)
    whole = factor and not rest and np.array_equal(indices, np.arange(len(indices)) // factor)
    return factor if whole else None


def _is_resize_bilinear(x: Var, axes: Sequence[ResizedAxis], coordinates: str) -> bool:
    """Whether `resize_bilinear` takes its samples where ONNX does."""
    if x.rank < 3 or coordinates not in _SAMPLING or any(a.axis < x.rank - 2 for a in axes):
        return False
    if not is_known(x.shape[-2]):
        return False
    for a in axes:
        if a.target == 1 and a.size > 1:
            return False  # MIL's spacings divide by target - 1
        plain = ResizedAxis(a.axis, a.size, a.target, a.target / a.size)
        apart = np.abs(positions(a, coordinates) - positions(plain, coordinates))
        if apart.max() > _PIXELS_APART:
            return False
    return True


def _interpolated(
    node: OnnxNode,
    x: Var,
    axes: Sequence[ResizedAxis],
    matrices: Sequence[np.ndarray[Any, np.dtype[np.float64]]],
) -> Var:
    if any(a.axis < x.rank - 2 for a in axes):
        node.refuse("it interpolates along other axes than the last two")
    number = types.nptype_from_builtin(x.dtype)
    for count, (a, matrix) in enumerate(zip(axes, matrices, strict=True), start=1):
        name = node.result if count == len(axes) else f"{node.result}_axis{a.axis}"
        weights = matrix.astype(number)
        if a.axis == x.rank - 1:
            x = mb.matmul(x=x, y=weights.T.copy(), name=name)
        else:
            x = mb.matmul(x=weights, y=x, name=name)
    return x

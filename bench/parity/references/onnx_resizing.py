"""ONNX's Resize in exact arithmetic: for each axis, the matrix that makes its output.

onnx's own evaluator rounds cubic coefficients to float32, and takes seconds for an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx.reference.ops import op_resize

from edgerep.artefacts.tensors import Array

_PLACES = (
    "half_pixel",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
    "half_pixel_symmetric",
)


class Resize(op_resize.Resize):
    op_domain = ""

    def _run(  # type: ignore[override]
        self,
        x: Array,
        roi: Array | None = None,
        scales: Array | None = None,
        sizes: Array | None = None,
        **given: Any,
    ) -> tuple[Array]:
        place = given.get("coordinate_transformation_mode") or "half_pixel"
        policy = given.get("keep_aspect_ratio_policy") or "stretch"
        rare = given.get("antialias") or given.get("exclude_outside") or policy != "stretch"
        if rare or place not in _PLACES or x.dtype.kind != "f":
            result: tuple[Array] = super()._run(x, roi, scales, sizes, **given)
            return result
        axes = [int(axis) % x.ndim for axis in given.get("axes") or range(x.ndim)]
        found = x
        for at, axis in enumerate(axes):
            size = x.shape[axis]
            if scales is not None and len(scales):
                scale = float(scales[at])
                out = math.floor(size * scale)
            else:
                out = int(sizes[at])  # type: ignore[index]
                scale = out / size
            if out == size and scale == 1:
                continue
            matrix = _matrix(size, out, scale, place, given).astype(x.dtype)
            found = np.moveaxis(np.tensordot(matrix, found, (1, axis)), 0, axis)
        return (np.ascontiguousarray(found),)


def _matrix(size: int, out: int, scale: float, place: str, given: dict[str, Any]) -> Array:
    """[out, size]: what each number of the output takes of each of the input."""
    mode = given.get("mode") or "nearest"
    matrix = np.zeros((out, size))
    for row in range(out):
        at = _place(row, size, out, scale, place)
        if mode == "nearest":
            taken: Sequence[tuple[int, float]] = [(_nearest(at, given.get("nearest_mode")), 1.0)]
        else:
            low = math.floor(at)
            rest = at - low
            weights = [1 - rest, rest] if mode == "linear" else _cubic(rest, given)
            first = low if mode == "linear" else low - 1
            taken = [(first + index, weight) for index, weight in enumerate(weights)]
        for column, weight in taken:
            matrix[row, min(max(column, 0), size - 1)] += weight
    return matrix


def _place(row: int, size: int, out: int, scale: float, place: str) -> float:
    if place == "asymmetric":
        return row / scale
    if place == "align_corners":
        return row * (size - 1) / (out - 1) if out > 1 else 0.0
    if place == "pytorch_half_pixel" and out == 1:
        return 0.0
    at = (row + 0.5) / scale - 0.5
    if place == "half_pixel_symmetric":  # the middle of the whole stays where it is
        at += size / 2 * (1 - out / (scale * size))
    return at


def _nearest(at: float, mode: str | None) -> int:
    if mode == "floor":
        return math.floor(at)
    if mode == "ceil":
        return math.ceil(at)
    if mode == "round_prefer_ceil":
        return math.floor(at + 0.5)
    return math.ceil(at - 0.5)


def _cubic(rest: float, given: dict[str, Any]) -> list[float]:
    a = -0.75 if given.get("cubic_coeff_a") is None else float(given["cubic_coeff_a"])

    def near(x: float) -> float:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: float) -> float:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(1 + rest), near(rest), near(1 - rest), far(2 - rest)]

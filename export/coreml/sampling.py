"""Where a resized image takes its numbers from: the arithmetic of ONNX's Resize along one axis.

Source: the ONNX operator reference, Resize of opsets 13 to 19. Positions are computed in float32
and in the order of ONNX Runtime, because at a border between two pixels the rounding decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Positions: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int32]

_TAPS = 4  # of a cubic kernel


@dataclass(frozen=True)
class ResizedAxis:
    """One axis of an image that is resized.

    Attributes:
        axis: Which.
        size: Before.
        target: After.
        scale: What positions are divided by; `target / size`, or as the graph gives it.
    """

    axis: int
    size: int
    target: int
    scale: float


def _half_pixel(i: Positions, axis: ResizedAxis) -> Positions:
    return (i + np.float32(0.5)) / np.float32(axis.scale) - np.float32(0.5)


def _torch_half_pixel(i: Positions, axis: ResizedAxis) -> Positions:
    return _half_pixel(i, axis) if axis.target > 1 else i * np.float32(0)


def _asymmetric(i: Positions, axis: ResizedAxis) -> Positions:
    return i / np.float32(axis.scale)


def _align_corners(i: Positions, axis: ResizedAxis) -> Positions:
    if axis.target == 1:
        return i * np.float32(0)
    return i * np.float32(axis.size - 1) / np.float32(axis.target - 1)


def _symmetric(i: Positions, axis: ResizedAxis) -> Positions:
    adjustment = np.float32(axis.target) / (np.float32(axis.scale) * np.float32(axis.size))
    offset = np.float32(axis.size) / np.float32(2) * (np.float32(1) - adjustment)
    return offset + _half_pixel(i, axis)


def _round_prefer_floor(x: Positions) -> Any:
    return np.ceil(x - np.float32(0.5))


def _round_prefer_ceil(x: Positions) -> Any:
    return np.floor(x + np.float32(0.5))


# By the names that ONNX has for them.
COORDINATES: Mapping[str, Callable[[Positions, ResizedAxis], Positions]] = MappingProxyType(
    {
        "half_pixel": _half_pixel,
        "pytorch_half_pixel": _torch_half_pixel,
        "asymmetric": _asymmetric,
        "align_corners": _align_corners,
        "half_pixel_symmetric": _symmetric,
    }
)
ROUNDINGS: Mapping[str, Callable[[Positions], Any]] = MappingProxyType(
    {
        "round_prefer_floor": _round_prefer_floor,
        "round_prefer_ceil": _round_prefer_ceil,
        "floor": np.floor,
        "ceil": np.ceil,
    }
)


def positions(axis: ResizedAxis, coordinates: str) -> Positions:
    """For each pixel of the result, its place in the image, in pixels [target]."""
    return COORDINATES[coordinates](np.arange(axis.target, dtype=np.float32), axis)


def nearest(axis: ResizedAxis, coordinates: str, rounding: str) -> Indices:
    """For each pixel of the result, the pixel that it is a copy of [target]."""
    index = ROUNDINGS[rounding](positions(axis, coordinates))
    chosen: Indices = np.clip(index, 0, axis.size - 1).astype(np.int32)
    return chosen


def linear_weights(axis: ResizedAxis, coordinates: str) -> NDArray[np.float64]:
    """The matrix [target, size] that interpolates linearly; beyond the edge, the edge goes on."""
    place = np.clip(positions(axis, coordinates).astype(np.float64), 0, axis.size - 1)
    below = np.minimum(np.floor(place).astype(int), axis.size - 1)
    above = np.minimum(below + 1, axis.size - 1)
    rows, matrix = np.arange(axis.target), np.zeros((axis.target, axis.size))
    np.add.at(matrix, (rows, below), 1 - (place - below))
    np.add.at(matrix, (rows, above), place - below)
    return matrix


def cubic_weights(
    axis: ResizedAxis, coordinates: str, a: float, *, exclude_outside: bool
) -> NDArray[np.float64]:
    """The matrix [target, size] of cubic convolution with the coefficient `a`.

    Formula: Keys, "Cubic convolution interpolation for digital image processing", 1981.

    Args:
        axis: What is resized.
        coordinates: The mode, one of `COORDINATES`.
        a: -0.75 as in torch and OpenCV, -0.5 as in Pillow.
        exclude_outside: Pixels beyond the edge weigh nothing, in place of being those of the edge.
    """
    place = positions(axis, coordinates).astype(np.float64)
    first = np.floor(place).astype(int) - 1
    rows, matrix = np.arange(axis.target), np.zeros((axis.target, axis.size))
    for tap in range(_TAPS):
        index, distance = first + tap, np.abs(place - (first + tap))
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        if exclude_outside:
            weight = np.where((index < 0) | (index >= axis.size), 0, weight)
        np.add.at(matrix, (rows, np.clip(index, 0, axis.size - 1)), weight)
    return matrix / matrix.sum(1, keepdims=True) if exclude_outside else matrix

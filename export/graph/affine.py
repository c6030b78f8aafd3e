"""QuantizeLinear and DequantizeLinear on arrays, as ONNX defines them.

A number becomes the nearest step, x / scale rounded half to even, plus the zero point, and stops
at the ends of its type. Source: the ONNX operator reference, opsets 10 to 23.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgerep.artefacts.tensors import Array


def quantize_array(x: Array, scale: Array, zero: Array, axis: int = 1) -> Array:
    """The steps on which the numbers of `x` lie, in the type of `zero`.

    Args:
        x: Of any floating-point type; the division is done in it.
        scale: Of no dimension, [1], or [x.shape[axis]].
        zero: The zero point; of the shape of `scale`.
        axis: Along which scales differ.
    """
    limits = np.iinfo(zero.dtype)
    step, middle = (spread(one, x.ndim, axis) for one in (scale.astype(x.dtype), zero))
    with np.errstate(all="ignore"):  # infinities stop at the ends; NaN has no step
        found = np.rint(x / step) + middle.astype(x.dtype)
    result: Array = np.clip(found, limits.min, limits.max).astype(zero.dtype)
    return result


def dequantize_array(
    levels: Array, scale: Array, zero: Array | None = None, axis: int = 1
) -> Array:
    """The numbers for which steps stand, in the type of `scale`.

    Args:
        levels: Integers.
        scale: Of no dimension, [1], or [levels.shape[axis]].
        zero: The zero point; of the shape of `scale`; None for 0.
        axis: Along which scales differ.
    """
    wide = levels.astype(np.int64)
    if zero is not None:
        wide = wide - spread(zero.astype(np.int64), levels.ndim, axis)
    result: Array = wide.astype(scale.dtype) * spread(scale, levels.ndim, axis)
    return result


def spread(values: Any, rank: int, axis: int) -> Array:
    """A scale or a zero point in the shape in which it stands beside a tensor of `rank`."""
    array = np.asarray(values)
    if array.size == 1:
        return array.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return array.reshape(shape)

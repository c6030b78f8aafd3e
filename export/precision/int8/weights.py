"""The weights of a layer in codes: each by itself, or together on what the layer meets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.export.precision.int8.patches import second_moments
from edgerep.export.precision.int8.qdq_writer import Codes
from edgerep.export.precision.int8.rounding import (
    rounded_to_nearest,
    rounded_together,
    row_scales,
)
from edgerep.export.precision.layers import Layer

Doubles = NDArray[np.float64]

_WIDEST = 4608  # columns of a row whose second moments are taken together: 85 MB in float32


def nearest_codes(layer: Layer, weight: Array, levels: int) -> Codes:
    """Codes of a layer's weights, each rounded by itself.

    Args:
        layer: Whose weights they are.
        weight: In the shape that the layer has them.
        levels: The largest code.
    """
    rows = layer.rows(weight)
    flat = rows.reshape(*rows.shape[:2], -1)
    scales = shared_steps(layer, row_scales(flat, levels))
    return laid_out(layer, weight, rounded_to_nearest(flat, scales, levels), scales)


def codes_together(
    layer: Layer, weight: Array, blocks: Sequence[Array], levels: int, seed: int
) -> Codes:
    """Codes of a layer's weights that make up for each other's errors on the layer's inputs.

    Rows of more than 4608 weights are rounded in parts, by input channels; errors are made up for
    inside of a part.

    Args:
        layer: Whose weights they are.
        weight: In the shape that the layer has them.
        blocks: The layer's inputs in any unit, a batch at a time.
        levels: The largest code.
        seed: Of the positions that are drawn.
    """
    rows = layer.rows(weight)
    groups, outputs, inputs, taps = rows.shape
    scales = shared_steps(layer, row_scales(rows.reshape(groups, outputs, -1), levels))
    kernel = weight.shape[2:] if layer.operator == "Conv" else ()
    by_tap = layer.operator == "ConvTranspose"
    width = max(1, _WIDEST // (1 if by_tap else taps))
    result = np.zeros(rows.shape, np.int8)
    for first in range(0, inputs, width):
        part = slice(first, min(first + width, inputs))
        moments = second_moments(layer, blocks, kernel, seed, part)
        some = rows[:, :, part]
        if by_tap:
            for tap in range(taps):
                one = rounded_together(some[..., tap], scales, levels, moments)
                result[:, :, part, tap] = one
        else:
            flat = some.reshape(groups, outputs, -1)
            done = rounded_together(flat, scales, levels, moments)
            result[:, :, part] = done.reshape(some.shape)
    return laid_out(layer, weight, result.reshape(groups, outputs, -1), scales)


def shared_steps(layer: Layer, scales: Doubles) -> Doubles:
    """Steps that DequantizeLinear can say: of a `ConvTranspose` the groups share them."""
    if layer.operator == "ConvTranspose":
        return np.broadcast_to(scales.max(0, keepdims=True), scales.shape)
    return scales


def laid_out(layer: Layer, weight: Array, rows: Array, scales: Doubles) -> Codes:
    """Codes of rows [groups, outputs, inputs of a row], of any type, as the layer has its weights.

    Args:
        layer: Whose weights they are.
        weight: Its weights, for their shape.
        rows: The codes.
        scales: The step of each row, [groups, outputs].
    """
    shape = layer.rows(weight).shape
    codes = layer.from_rows(rows.reshape(shape), weight.shape)
    steps = scales[0] if layer.operator == "ConvTranspose" else scales.reshape(-1)
    return Codes(np.ascontiguousarray(codes), steps.astype(np.float32))

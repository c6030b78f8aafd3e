"""Weights in eight bits, activations untouched: a file of a quarter of the size, made of no images.

What is computed stays in floating point: this saves storage and the reading of weights, no
arithmetic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx

from edgerep.export.graph.index import GraphIndex
from edgerep.export.precision.int8.likeness import decibels
from edgerep.export.precision.int8.placement import placement_of
from edgerep.export.precision.int8.qdq_writer import Codes, write_weights_in_place
from edgerep.export.precision.int8.weights import nearest_codes

_LEVELS = 127


def with_int8_weights(
    model: onnx.ModelProto, keep: Collection[str] = ()
) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
    """A copy of a float32 graph whose layers have int8 weights and a scale per output channel.

    Each weight is the nearest of 255 multiples of a 127th of the largest of its channel.

    Args:
        model: The graph.
        keep: Names of layers that stay in float32.

    Returns:
        The graph, and the JSON of what was done: each layer's weights as signal to rounding noise,
        in decibels, and the bytes of all of them before and after.

    Raises:
        OptionError: A name of `keep` is no layer's.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    placement = placement_of(result, keep)
    index = GraphIndex(result.graph)
    codes: dict[str, Codes] = {}
    found = []
    before = after = 0
    for layer in placement.layers:
        weight = index.constant(layer.weight)
        if weight is None:  # or it would be no layer
            continue
        made = codes[layer.name] = nearest_codes(layer, weight, _LEVELS)
        error = made.values(layer).astype(np.float64) - weight
        signal = float((weight.astype(np.float64) ** 2).sum())
        sqnr = round(decibels(signal, float((error**2).sum())), 2)
        found.append({"name": layer.name, "operator": layer.operator, "sqnr_db": sqnr})
        before += weight.nbytes
        after += made.codes.nbytes + 5 * len(made.steps)  # a step and a zero point for each
    write_weights_in_place(result, placement.layers, codes)
    kept = dict(placement.kept)
    return result, {"layers": found, "kept": kept, "bytes_before": before, "bytes_after": after}

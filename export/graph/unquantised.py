"""A Q/DQ graph as the float graph that it stands for: integers as numbers, no rounding between."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.affine import dequantize_array, quantize_array
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.quantisers import Quantiser, quantisers_in


def unquantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which weights are the numbers that their integers stand for, and nothing rounds.

    Q/DQ whose scale is computed, or in blocks, stays as it is.

    Args:
        model: With its weights inside.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    index = GraphIndex(graph)
    values: dict[str, Array] = {}  # of what quantisers make of constants
    instead: dict[str, str] = {}  # what is read in the place of what a quantiser makes
    gone = []
    for one in quantisers_in(index):
        name, output = one.node.input[0], one.node.output[0]
        if one.scale is None or one.block or (one.zero_given and one.zero is None):
            continue
        stored = values.get(name, one.constant)
        if stored is not None:
            values[output] = _worked_out(one, stored)
            gone.append(one.node)
        elif one.is_quantize or name in instead:
            instead[output] = instead.get(name, name)
            gone.append(one.node)
    for node in gone:
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
    read = {name for node in graph.node for name in node.input}
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(array), name)
        for name, array in values.items()
        if name in read
    )
    return made


def _worked_out(one: Quantiser, stored: Array) -> Array:
    assert one.scale is not None  # the caller has looked
    if one.is_quantize:
        kind = onnx.helper.tensor_dtype_to_np_dtype(one.element)
        zero = np.zeros(one.scale.shape, kind) if one.zero is None else one.zero
        return quantize_array(stored, one.scale, zero, one.axis)
    return dequantize_array(stored, one.scale, one.zero, one.axis)

"""Rescale the channels of a graph between its layers, so that it computes the same."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import GraphIndex
from edgerep.export.precision.free_scales import FreeScales
from edgerep.export.precision.layers import Layer, put_constant_in_place

_ADDING = ("Add", "Sub")


def rescaled(
    model: onnx.ModelProto, free: FreeScales, scales: NDArray[np.float64]
) -> onnx.ModelProto:
    """A copy of a graph in which every channel is divided by its scale, and the outputs stay.

    Weights are multiplied in float64 and rounded to float32 once. Scales that are powers of two
    change no digit of any number, as long as none leaves the range of float32.

    Args:
        model: A graph of float32.
        free: What may be rescaled in it.
        scales: One above 0 for each variable of `free`, [count]; that of number 0 is 1.

    Raises:
        ValueError: The scale of number 0 is not 1, or one is not a finite number above 0.
    """
    if scales[0] != 1 or not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError("scales are finite numbers above 0, and the first is 1")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = {node.output[0]: node for node in result.graph.node if node.output}
    index = GraphIndex(result.graph)
    for layer in free.layers:
        _rescale_layer(result.graph, index, nodes[layer.node.output[0]], layer, free, scales)
    for node in result.graph.node:
        if node.op_type in _ADDING and node.output[0] in free.variables:
            _rescale_summand(result.graph, index, node, free, scales)
    return result


def _rescale_layer(
    graph: onnx.GraphProto,
    index: GraphIndex,
    node: onnx.NodeProto,
    layer: Layer,
    free: FreeScales,
    scales: NDArray[np.float64],
) -> None:
    weight = index.constant(layer.weight)
    assert weight is not None  # as when the layer was found
    rows = layer.rows(weight)
    groups, outputs, inputs, _ = rows.shape
    read = _spread(scales[free.of(layer.source, layer.source_axis)], groups * inputs)
    made = scales[free.of(layer.output, layer.source_axis)].reshape(groups, outputs)
    if (read == 1).all() and (made == 1).all():
        return
    changed = rows * read.reshape(groups, 1, inputs, 1) / made[:, :, None, None]
    kept = layer.from_rows(changed, weight.shape).astype(np.float32)
    put_constant_in_place(graph, node, 1, kept, layer.weight)
    if layer.bias:
        bias = index.constant(layer.bias)
        assert bias is not None
        put_constant_in_place(
            graph, node, 2, (bias / made.reshape(-1)).astype(np.float32), layer.bias
        )


def _rescale_summand(
    graph: onnx.GraphProto,
    index: GraphIndex,
    node: onnx.NodeProto,
    free: FreeScales,
    scales: NDArray[np.float64],
) -> None:
    """A constant that is added to a tensor is divided by the scales of the tensor."""
    divisor = scales[free.variables[node.output[0]]]
    if (divisor == 1).all():
        return
    for at, name in enumerate(node.input):
        constant = index.constant(name)
        if constant is not None:
            changed: Array = (constant / divisor).astype(np.float32)
            if changed.size == constant.size:
                changed = changed.reshape(constant.shape)
            put_constant_in_place(graph, node, at, changed, name)


def _spread(scales: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """One scale for each of `count` channels, where one number stands for all."""
    return np.broadcast_to(scales, (count,)) if len(scales) == 1 else scales

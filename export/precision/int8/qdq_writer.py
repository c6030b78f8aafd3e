"""Scales and codes as QuantizeLinear and DequantizeLinear, as every parser reads them.

Eight bits with a sign, int8 or E4M3, zero points 0 that are written out; weights as constants of
codes with a DequantizeLinear per output channel, biases in float32 (TensorRT's parsers take no
int32 ones).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.export.precision.int8.placement import Pair
from edgerep.export.precision.layers import Layer, put_constant_in_place

CODES = "_quantized"  # behind the name of a tensor: that of its codes
VALUES = "_dequantized"


@dataclass(frozen=True, eq=False)
class Codes:
    """The weights of a layer in eight bits.

    Attributes:
        codes: In the shape of the weights, int8 or E4M3.
        steps: One for each output channel, [outputs]; of a `ConvTranspose` with groups, those of
            one group.
    """

    codes: Array
    steps: NDArray[np.float32]

    def values(self, layer: Layer) -> Array:
        """The weights that the codes stand for, as DequantizeLinear computes them."""
        shape = [1] * self.codes.ndim
        shape[layer.outputs] = -1
        result: Array = self.codes.astype(np.float32) * self.steps.reshape(shape)
        return result


def with_pairs(
    model: onnx.ModelProto,
    pairs: Sequence[Pair],
    steps: Mapping[int, float],
    kind: int = TensorProto.INT8,
) -> onnx.ModelProto:
    """A copy of a graph with a Q/DQ pair for each of `pairs`.

    Args:
        model: The graph.
        pairs: In any order.
        steps: The step of each group.
        kind: Of the codes: ONNX's number of the type.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    made = {node.output[0]: node for node in graph.node if node.output}
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    zero = f"{dtype}_zero"
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype), zero))
    behind: dict[str, list[onnx.NodeProto]] = {}
    for pair in pairs:
        step = f"{pair.tensor}_step"
        graph.initializer.append(
            numpy_helper.from_array(np.array(steps[pair.group], np.float32), step)
        )
        codes, values = f"{pair.tensor}{CODES}", f"{pair.tensor}{VALUES}"
        behind[pair.tensor] = [
            helper.make_node("QuantizeLinear", [pair.tensor, step, zero], [codes],
                             name=f"{pair.tensor}_QuantizeLinear"),
            helper.make_node("DequantizeLinear", [codes, step, zero], [values],
                             name=f"{pair.tensor}_DequantizeLinear"),
        ]  # fmt: skip
        for reader, at in pair.readers:
            made[reader].input[at] = values
    nodes: list[onnx.NodeProto] = []
    for value in graph.input:
        nodes.extend(behind.get(value.name, ()))
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            nodes.extend(behind.get(name, ()))
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def write_weights_in_place(
    model: onnx.ModelProto, layers: Sequence[Layer], weights: Mapping[str, Codes]
) -> None:
    """Write the weights of layers as constants of codes behind a DequantizeLinear.

    Args:
        model: Changed in place.
        layers: Of the graph.
        weights: By the name of the layer; layers that have none stay as they are.
    """
    graph = model.graph
    places = {node.output[0]: at for at, node in enumerate(graph.node) if node.output}
    before: dict[int, onnx.NodeProto] = {}
    narrow: set[str] = set()
    for layer in layers:
        found = weights.get(layer.name)
        if found is None:
            continue
        place = places[layer.node.output[0]]
        node = graph.node[place]
        zeros = np.zeros(len(found.steps), found.codes.dtype)
        weight = node.input[1]
        values = f"{layer.name}.weight{VALUES}"
        codes = put_constant_in_place(graph, node, 1, found.codes, weight)
        step = _stored(graph, found.steps, f"{layer.name}.weight_step")
        zero = _stored(graph, zeros, f"{layer.name}.weight_zero")
        before[place] = helper.make_node(
            "DequantizeLinear", [codes, step, zero], [values],
            name=f"{layer.name}.weight_DequantizeLinear", axis=layer.outputs,
        )  # fmt: skip
        node.input[1] = values
        narrow.add(codes)
    # What was noted of the float32 weights is of eight bits now.
    noted = [value for value in graph.value_info if value.name not in narrow]
    del graph.value_info[:]
    graph.value_info.extend(noted)
    order: list[onnx.NodeProto] = []
    for at, node in enumerate(graph.node):
        order.extend([before[at], node] if at in before else [node])
    del graph.node[:]
    graph.node.extend(order)


def _stored(graph: onnx.GraphProto, value: Array, name: str) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name

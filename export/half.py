"""Rewrite a float32 ONNX graph as a typed float16 graph with float32 inputs and outputs.

The precision then lives in the graph, where TensorRT 8.5 to 11, TensorRT-RTX and Core ML all
read it, and not in a flag of one builder.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgerep.errors import OnnxError

_FLOAT16_MAX = float(np.finfo(np.float16).max)
# Operators whose scale parameters TensorRT and Core ML want in float32 are not among these; the
# graphs that edgerep writes hold no others with float tensors as attributes.
_TYPED_ATTRIBUTES = {"Cast": "to"}


def convert_to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 graph in float16: weights rounded to nearest, casts at the ends.

    Raises:
        OnnxError: A weight is beyond what float16 holds (65504), listed by name; the largest
            activations are not checked here but by parity.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    _refuse_overflow(graph)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        _retype_attributes(node)
    for value in graph.value_info:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    _cast_inputs(graph)
    _cast_outputs(graph)
    return half


def _refuse_overflow(graph: onnx.GraphProto) -> None:
    beyond = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0))
            if largest > _FLOAT16_MAX:
                beyond.append(f"{tensor.name} (largest {largest:.4g})")
    if beyond:
        raise OnnxError(
            f"float16 holds numbers up to {_FLOAT16_MAX:.0f}, and these weights go beyond: "
            f"{', '.join(beyond)}. Use --precision fp32"
        )


def _retype_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == _TYPED_ATTRIBUTES.get(node.op_type):
            if attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        elif (
            attribute.type == onnx.AttributeProto.TENSOR
            and attribute.t.data_type == TensorProto.FLOAT
        ):
            values = numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))


def _cast_inputs(graph: onnx.GraphProto) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    casts = []
    for value in graph.input:
        if value.name in constants or value.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        narrow = f"{value.name}_float16"
        for node in graph.node:
            node.input[:] = [narrow if name == value.name else name for name in node.input]
        casts.append(
            helper.make_node(
                "Cast", [value.name], [narrow], name=f"{value.name}_to_float16",
                to=TensorProto.FLOAT16,
            )
        )  # fmt: skip
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _cast_outputs(graph: onnx.GraphProto) -> None:
    for value in graph.output:
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        narrow = f"{value.name}_float16"
        for node in graph.node:
            node.output[:] = [narrow if name == value.name else name for name in node.output]
            node.input[:] = [narrow if name == value.name else name for name in node.input]
        graph.node.append(
            helper.make_node(
                "Cast", [narrow], [value.name], name=f"{value.name}_to_float32",
                to=TensorProto.FLOAT,
            )
        )  # fmt: skip

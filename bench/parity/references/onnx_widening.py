"""Rewrite an ONNX model so that all of its real arithmetic is done in one floating-point type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgerep.errors import OnnxError
from edgerep.export.graph.index import bodies_in

_ELEMENTS: Mapping[str, int] = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
_REAL = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE)
_TYPE_ATTRIBUTES = ("to", "dtype")  # of Cast, and of what makes tensors out of nothing
# What these two compute is defined for any type of real numbers; all others that quantise are not.
_DEFINED = ("QuantizeLinear", "DequantizeLinear")
# Their results depend on where rounding happens, or on chance: exact arithmetic is not their truth.
_INEXACT = ("Quantize", "QLinear", "Integer", "Random", "Bernoulli", "Multinomial")


def widen(model: onnx.ModelProto, dtype: str) -> onnx.ModelProto:
    """A copy of a model in which every real number is of `dtype`, from its inputs to its outputs.

    Stored weights keep their values: widening float16 or float32 to float64 is exact. A cast from
    one floating-point type to another becomes a cast to `dtype`, that is, nothing; casts between
    integers and real numbers stay. The copy is for evaluation, and need not be valid ONNX: many
    operators are not defined for float64.

    Args:
        model: With its weights inside.
        dtype: "float32" or "float64".

    Raises:
        OnnxError: The model has operators that compute with integers or draw random numbers, or
            sparse weights; all are named.
    """
    _refuse_inexact(model)
    element = _ELEMENTS[dtype]
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _REAL:
            value.type.tensor_type.elem_type = element
    parts: list[Any] = [graph, *bodies_in(graph.node), *wide.functions]
    for part in parts:
        # They state the types as they were; nothing needs them.
        del part.value_info[:]
        for node in part.node:
            _widen_node(node, element)
    for part in (graph, *bodies_in(graph.node)):
        for tensor in part.initializer:
            _widen_tensor(tensor, element)
    return wide


def _refuse_inexact(model: onnx.ModelProto) -> None:
    found = sorted(
        {
            node.op_type
            for node in _nodes(model)
            if any(word in node.op_type for word in _INEXACT) and node.op_type not in _DEFINED
        }
    )  # fmt: skip
    if model.graph.sparse_initializer:
        found.append("sparse weights")
    if found:
        raise OnnxError(
            f"a graph with {', '.join(found)} has no exact answers to compare with: take the "
            f"float32 or float16 graph that it was made from as the reference"
        )


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    parts: list[Any] = [model.graph, *bodies_in(model.graph.node), *model.functions]
    for part in parts:
        yield from part.node


def _widen_node(node: onnx.NodeProto, element: int) -> None:
    for attribute in node.attribute:
        if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _REAL:
            attribute.i = element
        if attribute.HasField("t"):
            _widen_tensor(attribute.t, element)
        for tensor in attribute.tensors:
            _widen_tensor(tensor, element)
    if node.op_type == "Constant":
        _widen_constant(node, element)
    elif node.op_type == "ConstantOfShape" and not node.attribute:
        zero = helper.make_tensor("value", element, [1], [0.0])  # float32 where no value is given
        node.attribute.append(helper.make_attribute("value", zero))


def _widen_constant(node: onnx.NodeProto, element: int) -> None:
    """Turn `value_float` and `value_floats`, which are float32 by definition, into tensors."""
    for attribute in node.attribute:
        if attribute.name in ("value_float", "value_floats"):
            several = attribute.name == "value_floats"
            values = list(attribute.floats) if several else [attribute.f]
            dims = [len(values)] if several else []
            tensor = helper.make_tensor("value", element, dims, values)
            attribute.CopyFrom(helper.make_attribute("value", tensor))


def _widen_tensor(tensor: onnx.TensorProto, element: int) -> None:
    if tensor.data_type not in _REAL or tensor.data_type == element:
        return
    dtype = np.float64 if element == TensorProto.DOUBLE else np.float32
    values = numpy_helper.to_array(tensor).astype(dtype)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

"""The element type of every tensor of a graph, worked out by onnx."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
from onnx import helper

from edgerep.errors import OnnxError
from edgerep.export.graph.index import bodies_in

_LARGE = 4096  # numbers of a constant that says no shape: types are worked out without it


def element_types(model: onnx.ModelProto) -> Mapping[str, int]:
    """From the name of each tensor, those in bodies included, to its `TensorProto` type.

    Raises:
        OnnxError: onnx cannot work one out; the operators that give such are named.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise OnnxError(f"the types of its tensors cannot be worked out: {error}") from error
    types: dict[str, int] = {}
    for part in (inferred.graph, *bodies_in(inferred.graph.node)):
        for value in (*part.input, *part.output, *part.value_info):
            types[value.name] = value.type.tensor_type.elem_type
        types.update((tensor.name, tensor.data_type) for tensor in part.initializer)
    untyped = sorted(
        {node.op_type for node in model.graph.node for n in node.output if n and not types.get(n)}
    )
    if untyped:
        raise OnnxError(f"the types of what {', '.join(untyped)} give cannot be worked out")
    return types


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    light = onnx.ModelProto()
    light.CopyFrom(model)
    listed = {value.name for value in light.graph.input}
    kept = []
    for tensor in light.graph.initializer:
        if math.prod(tensor.dims) <= _LARGE:
            kept.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
        elif tensor.name not in listed:
            light.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    del light.graph.initializer[:]
    light.graph.initializer.extend(kept)
    return light

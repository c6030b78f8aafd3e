"""Shapes of outputs that a file leaves open, worked out where its inputs say enough.

Older exporters with a dynamic batch lose track of every dimension behind a reshape, although only
the batch is open: the sizes go through nodes that read a shape, take it apart and join it again.
Here the graph is given two batches in turn, those nodes are evaluated, and what is the same for
both is fixed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import GraphIndex, operator_of, opset_of

Shape = tuple[int | None, ...]
_BATCHES = (2, 3)
_ROUNDS = 64  # of inference; each settles at least one reshape behind the last
# Operators that sizes are computed by; of others only the shape of the result counts.
_ARITHMETIC = frozenset({
    "Abs", "Add", "Cast", "Ceil", "Concat", "Constant", "Div", "Equal", "Floor", "Gather",
    "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "ReduceProd",
    "ReduceSum", "Reshape", "Round", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Unsqueeze",
    "Where",
})  # fmt: skip
_LARGEST = 4096  # numbers of a constant that a shape is computed from: anchors, not weights


def resolved_outputs(model: onnx.ModelProto) -> list[Shape] | None:
    """The shape of every output, None for the batch; None if they cannot be worked out.

    The first dimension of each input is the batch; the others have to be known.
    """
    first, second = (_shapes_at(model, batch) for batch in _BATCHES)
    if first is None or second is None or list(map(len, first)) != list(map(len, second)):
        return None
    found: list[Shape] = []
    for one, other in zip(first, second, strict=True):
        same = [a if a == b else None for a, b in zip(one, other, strict=True)]
        if None in same[1:] or (same[:1] == [None] and (one[0], other[0]) != _BATCHES):
            return None
        found.append(tuple(same))
    return found


def _shapes_at(model: onnx.ModelProto, batch: int) -> list[tuple[int, ...]] | None:
    skeleton = _without_weights(model)
    for value in GraphIndex(skeleton.graph).inputs:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value > 0:
            dims[0].dim_value = batch
    opset = opset_of(model)
    known = {t.name: numpy_helper.to_array(t) for t in skeleton.graph.initializer}
    for _ in range(_ROUNDS):
        inferred = onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
        shapes = {
            value.name: _static(value)
            for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
        }
        outputs = [shapes.get(value.name) for value in skeleton.graph.output]
        settled = [shape for shape in outputs if shape is not None]
        if len(settled) == len(outputs):
            return settled
        if not _settle_in_place(skeleton.graph, shapes, known, opset):
            return None
    return None


def _settle_in_place(
    graph: onnx.GraphProto,
    shapes: dict[str, tuple[int, ...] | None],
    known: dict[str, Array],
    opset: int,
) -> bool:
    """Make constants of nodes that compute sizes; whether there was one."""
    kept, found = [], False
    for node in graph.node:
        results = _evaluated(node, shapes, known, opset)
        if results is None:
            kept.append(node)
            continue
        found = True
        for name, array in zip(node.output, results, strict=True):
            known[name] = array
            graph.initializer.append(numpy_helper.from_array(array, name))
    del graph.node[:]
    graph.node.extend(kept)
    return found


def _evaluated(
    node: onnx.NodeProto,
    shapes: dict[str, tuple[int, ...] | None],
    known: dict[str, Array],
    opset: int,
) -> Sequence[Array] | None:
    """The outputs of a node that reads a known shape or small constants only; else None."""
    if operator_of(node) == "Shape":
        shape = shapes.get(node.input[0])
        if shape is None:
            return None
        at = {a.name: a.i for a in node.attribute}
        return [np.array(shape[at.get("start", 0) : at.get("end", len(shape))], np.int64)]
    feeds = {name: known[name] for name in node.input if name in known}
    if operator_of(node) not in _ARITHMETIC or any(n and n not in feeds for n in node.input):
        return None
    if any(array.size > _LARGEST for array in feeds.values()):
        return None
    try:
        values = [
            helper.make_tensor_value_info(
                name, int(helper.np_dtype_to_tensor_dtype(array.dtype)), array.shape
            )
            for name, array in feeds.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
        graph = helper.make_graph([node], "sizes", values, outputs)
        single = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        return [np.asarray(array) for array in ReferenceEvaluator(single).run(None, feeds)]
    except Exception:  # whatever the node is, it computes no size that is understood here
        return None


def _static(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or any(d.dim_value <= 0 for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large constants as inputs of their shape, and nothing inferred."""
    graph = model.graph
    large = [t for t in graph.initializer if np.prod(t.dims) > _LARGEST]
    named = {value.name for value in graph.input}
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    new = skeleton.graph
    new.name = graph.name
    new.node.extend(graph.node)
    new.input.extend(graph.input)
    new.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims)
        for t in large
        if t.name not in named
    )
    new.initializer.extend(t for t in graph.initializer if np.prod(t.dims) <= _LARGEST)
    for value in graph.output:
        value_type = value.type.tensor_type.elem_type
        new.output.append(helper.make_tensor_value_info(value.name, value_type, None))
    return skeleton

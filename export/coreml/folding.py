"""Nodes that depend on constants only: evaluated at conversion, as ONNX itself defines them.

The list is closed. An operator that draws random numbers has no inputs either, and evaluating it
once would freeze what it draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgerep.export.coreml.node import Array
from edgerep.export.graph.index import GraphIndex, operator_of

# Beside those that can also be emitted.
FOLDABLE = frozenset({
    "And", "Ceil", "Constant", "ConstantOfShape", "Cos", "CumSum", "Equal", "Floor",
    "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Log", "Max",
    "Min", "Mod", "Not", "OneHot", "Or", "Range", "Round", "ScatterElements", "ScatterND", "Sign",
    "Sin", "Tile", "Trilu", "Where", "Xor",
})  # fmt: skip


def constants_of(index: GraphIndex, foldable: Iterable[str]) -> set[str]:
    """Names of all values that depend on nothing but constants, by way of `foldable` operators."""
    allowed = set(foldable)
    known = {"", *index.initializers}
    for node in index.graph.node:
        if operator_of(node) in allowed and known.issuperset(node.input):
            known.update(node.output)
    return known


def fold(proto: onnx.NodeProto, inputs: Sequence[Array | None], opset: int) -> tuple[Array, ...]:
    """All outputs of a node whose inputs are constants."""
    feeds = {
        name: value for name, value in zip(proto.input, inputs, strict=True) if value is not None
    }
    graph = helper.make_graph(
        [proto],
        "constant",
        [helper.make_tensor_value_info(n, _element_type(v), v.shape) for n, v in feeds.items()],
        [onnx.ValueInfoProto(name=name) for name in proto.output if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    found = ReferenceEvaluator(model).run(None, feeds)
    return tuple(np.asarray(value) for value in found)


def _element_type(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))

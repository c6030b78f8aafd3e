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

# Operators that can be evaluated and not emitted; those of the operator table can be both.
FOLDABLE = frozenset({
    "And", "Ceil", "Constant", "ConstantOfShape", "Cos", "CumSum", "Equal", "Floor",
    "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Log", "Max",
    "Min", "Mod", "Not", "OneHot", "Or", "Range", "Round", "ScatterElements", "ScatterND", "Sign",
    "Sin", "Tile", "Trilu", "Where", "Xor",
})  # fmt: skip


def constants_of(index: GraphIndex, foldable: Iterable[str]) -> set[str]:
    """Names of all constants, and of what the operators `foldable` make of constants alone."""
    allowed = set(foldable)
    known = {"", *index.initializers}
    for node in index.graph.node:
        if operator_of(node) in allowed and known.issuperset(node.input):
            known.update(node.output)
    return known


def fold(proto: onnx.NodeProto, inputs: Sequence[Array | None], opset: int) -> tuple[Array, ...]:
    """The outputs of a node whose inputs are constants, by onnx's reference evaluator.

    Args:
        proto: The node.
        inputs: Its constants, in order; None for an input that is left out.
        opset: The version of ONNX's own operators that the node is written in.
    """
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

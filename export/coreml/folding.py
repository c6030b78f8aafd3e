"""Nodes that depend on constants only: evaluated at conversion, as ONNX itself defines them.

The list is closed. An operator that draws random numbers has no inputs either, and evaluating it
once would freeze what it draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgerep.export.coreml.node import Array, OnnxNode
from edgerep.export.graph.index import GraphIndex, operator_of

_MOST_NUMBERS = 2**28  # in one constant: 1 GiB of float32
# Operators that can be evaluated and not emitted; those of the operator table can be both.
FOLDABLE = frozenset({"Constant", "OneHot", "Range", "Trilu"})


def constants_of(index: GraphIndex, foldable: Iterable[str]) -> set[str]:
    """Names of all constants and shapes, and of what the operators `foldable` make of these alone.

    A shape may turn out to be open; then what is made of it is refused when it is emitted.
    """
    allowed = set(foldable)
    known = {"", *index.initializers}
    for node in index.graph.node:
        is_shape = operator_of(node) == "Shape"
        if is_shape or (operator_of(node) in allowed and known.issuperset(node.input)):
            known.update(node.output)
    return known


def fold(proto: onnx.NodeProto, node: OnnxNode, opset: int) -> tuple[Array, ...]:
    """The outputs of a node whose inputs are constants, by onnx's reference evaluator.

    Args:
        proto: The node.
        node: The same with its inputs, all of them constants.
        opset: The version of ONNX's own operators that the node is written in.

    Raises:
        CoremlError: The node means nothing, or far more numbers than a network has constants.
    """
    if (count := _repeated_to(node)) > _MOST_NUMBERS:
        node.refuse(f"it makes a constant of {count} numbers")
    try:
        return _evaluated(proto, node.inputs, opset)
    except Exception as error:  # onnx's evaluator lets through whatever numpy raises
        words = f"{type(error).__name__}: {error}".split("\n")[0]
        node.refuse(f"its constants have no result in ONNX's definition ({words})")


def _repeated_to(node: OnnxNode) -> int:
    """How many numbers a node makes of few, as far as its inputs say it."""
    try:
        if node.operator == "ConstantOfShape":
            return math.prod(map(int, node.inputs[0].reshape(-1)))
        if node.operator == "Expand":
            return math.prod(np.broadcast_shapes(node.inputs[0].shape, tuple(node.inputs[1])))
        if node.operator == "Tile":
            return int(node.inputs[0].size) * math.prod(map(int, node.inputs[1].reshape(-1)))
        if node.operator == "Range":
            start, limit, step = (float(value.reshape(())) for value in node.inputs)
            return int(abs((limit - start) / step))
    except (ValueError, TypeError, ArithmeticError, IndexError, AttributeError):
        return 0  # the evaluator will say what is wrong
    return 0


def _evaluated(
    proto: onnx.NodeProto, inputs: Sequence[Array | None], opset: int
) -> tuple[Array, ...]:
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

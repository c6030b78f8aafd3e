"""Operators that reduce dimensions to one number."""

from __future__ import annotations

from typing import Any

from edgerep.export.coreml.node import OnnxNode, Var, is_whole
from edgerep.export.coreml.operators.arithmetic import Emit


def reduction(builder: Any, of_none: Any = None, *, whole: bool = True) -> Emit:
    """An ONNX `Reduce...`: axes as attribute or as input; without any, all or none of them.

    Args:
        builder: Of the operation.
        of_none: Builder for what it does to each number by itself; None if that is nothing.
        whole: The result of whole numbers is exact, too.
    """

    def emit(node: OnnxNode) -> Var:
        x, axes = node.data(0), node.integers("axes", 1)
        if not whole and is_whole(x):
            node.refuse("it rounds its result to a whole number, which MIL does not promise")
        if not axes and node.get("noop_with_empty_axes", 0):
            return x if of_none is None else of_none(x=x, name=node.result)
        keep = bool(node.get("keepdims", 1))
        axes = sorted(axes or range(x.rank))
        return builder(x=x, axes=axes, keep_dims=keep, name=node.result)

    return emit


def over_positions(builder: Any) -> Emit:
    """An ONNX `Global...Pool`: every dimension behind the channels, kept with size 1."""
    return lambda node: builder(
        x=node.data(0), axes=list(range(2, node.data(0).rank)), keep_dims=True, name=node.result
    )

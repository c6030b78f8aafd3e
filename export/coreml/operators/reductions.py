"""Operators that reduce dimensions to one number."""

from __future__ import annotations

from typing import Any

from edgerep.export.coreml.node import OnnxNode, Var, is_whole
from edgerep.export.coreml.operators.arithmetic import Emit


def reduction(builder: Any, of_none: Any = None, *, whole: bool = True) -> Emit:
    """What emits an ONNX `Reduce...`, whose axes are an attribute or an input.

    Without axes it reduces over all, or with `noop_with_empty_axes` over none.

    Args:
        builder: MIL's builder of the operation.
        of_none: Builder of what reducing over no axis does to each number; None if nothing.
        whole: The operation is exact for whole numbers too; if not, they are refused.
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
    """What emits an ONNX `Global...Pool`: all dimensions behind the channels, kept with size 1."""
    return lambda node: builder(
        x=node.data(0), axes=list(range(2, node.data(0).rank)), keep_dims=True, name=node.result
    )

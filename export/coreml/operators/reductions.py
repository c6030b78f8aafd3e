"""Operators that reduce dimensions to one number, or sum along one."""

from __future__ import annotations

from typing import Any

from edgerep.export.coreml.node import OnnxNode, Var, is_whole
from edgerep.export.coreml.operators.arithmetic import Emit
from edgerep.export.coreml.quiet_coremltools import mb, types
from edgerep.export.coreml.sizes import is_known


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


def log_sum_exp(x: Var, axes: list[int], keep_dims: bool, name: str) -> Var:
    """Emit max + log(sum(exp(x - max))), which no number that the type holds makes infinite."""
    largest, _, scale = shifted_logarithm(x, axes, name)
    if keep_dims:
        return mb.add(x=largest, y=scale, name=name)
    kept = mb.add(x=largest, y=scale, name=f"{name}_kept")
    return mb.squeeze(x=kept, axes=axes, name=name)


def shifted_logarithm(x: Var, axes: list[int], name: str) -> tuple[Var, Var, Var]:
    """Emit max, x - max and log(sum(exp(x - max))) over axes, which are kept with size 1."""
    largest = mb.reduce_max(x=x, axes=axes, keep_dims=True, name=f"{name}_largest")
    shifted = mb.sub(x=x, y=largest, name=f"{name}_shifted")
    powers = mb.exp(x=shifted, name=f"{name}_powers")
    total = mb.reduce_sum(x=powers, axes=axes, keep_dims=True, name=f"{name}_total")
    zero = types.nptype_from_builtin(x.dtype)(0)
    return largest, shifted, mb.log(x=total, epsilon=zero, name=f"{name}_scale")


def cumulative_sum(node: OnnxNode) -> Var:
    """Emit `CumSum`, whose axis is an input."""
    x, axis = node.data(0), int(node.known(1).reshape(())) % node.data(0).rank
    if not is_known(x.shape[axis]):
        node.refuse("it sums the images of the batch")
    exclusive, reverse = bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))
    return mb.cumsum(x=x, axis=axis, exclusive=exclusive, reverse=reverse, name=node.result)

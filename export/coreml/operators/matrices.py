"""Products of matrices. One with a constant matrix of weights is MIL's `linear`."""

from __future__ import annotations

import numpy as np

from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb, types

_LINEAR_RANKS = range(1, 4)  # of the input, as the MIL reference has it


def matmul(node: OnnxNode) -> Var:
    """Emit a product of matrices or of stacks of them; a vector becomes a row or a column."""
    x = node.data(0)
    if node.is_weight(1) and node.inputs[1].ndim == 2 and x.rank in _LINEAR_RANKS:
        # Its bias is 0.
        return mb.linear(x=x, weight=node.weight(1, transposed=True), name=node.result)
    y = node.data(1)
    flat = [axis for axis, value in ((-2, x), (-1, y)) if len(value.shape) == 1]
    x, y = _as_matrix(x, 0, f"{node.result}_row"), _as_matrix(y, 1, f"{node.result}_column")
    (x, flip_x), (y, flip_y) = _untransposed(x), _untransposed(y)
    product = mb.matmul(
        x=x, y=y, transpose_x=flip_x, transpose_y=flip_y,
        name=f"{node.result}_product" if flat else node.result,
    )  # fmt: skip
    return mb.squeeze(x=product, axes=flat, name=node.result) if flat else product


def _as_matrix(value: Var | Array, axis: int, name: str) -> Var | Array:
    """A vector as a matrix of one row or column; anything else as it is."""
    if len(value.shape) != 1:
        return value
    if isinstance(value, np.ndarray):
        return np.expand_dims(value, axis)
    return mb.expand_dims(x=value, axes=[axis], name=name)


def _untransposed(value: Var | Array) -> tuple[Var | Array, bool]:
    """The matrix that `value` is the transpose of, and True; else `value`, and False.

    MIL's `matmul` transposes by itself.
    """
    if isinstance(value, np.ndarray) or value.op is None or value.op.op_type != "transpose":
        return value, False
    op = value.op
    *front, last, before = op.perm.val
    turned = [*front, before, last] == list(range(value.rank))
    return (op.x, True) if turned else (value, False)


def matmul_add(node: OnnxNode) -> Var:
    """Emit a linear layer: x [..., in], a constant weight [in, out] and its bias [out]."""
    x, bias = node.data(0), node.constant(2)
    if x.rank in _LINEAR_RANKS:
        weight = node.weight(1, transposed=True)
        return mb.linear(x=x, weight=weight, bias=bias, name=node.result)
    y = mb.matmul(x=x, y=node.data(1), name=f"{node.result}_product")
    return mb.add(x=y, y=bias, name=node.result)


def gemm(node: OnnxNode) -> Var:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    flip_a, flip_b = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    bias = _linear_bias(node)
    if node.is_weight(1) and bias is not None and not flip_a and alpha == beta == 1:
        weight = node.weight(1, transposed=not flip_b)  # [out, in]
        return mb.linear(x=node.data(0), weight=weight, bias=bias, name=node.result)
    return _gemm_in_steps(node, alpha, beta, flip_a, flip_b)


def _linear_bias(node: OnnxNode) -> Array | None:
    """The third input of a Gemm as `linear` wants it, [out]; None where it does not fit."""
    if not node.is_weight(1):
        return None
    width = node.inputs[1].shape[0 if node.get("transB", 0) else 1]
    if not node.has(2):
        return np.zeros(width, types.nptype_from_builtin(node.data(0).dtype))
    if not node.is_weight(2):
        return None
    bias = np.asarray(node.constant(2))
    fits = bias.size in (1, width) and bias.size == (bias.shape or (1,))[-1]
    return np.broadcast_to(bias.reshape(-1), width).copy() if fits else None


def _gemm_in_steps(node: OnnxNode, alpha: float, beta: float, flip_a: bool, flip_b: bool) -> Var:
    """A Gemm that is no `linear`: alpha * A B + beta * C, without the steps that change nothing."""
    y = mb.matmul(
        x=node.data(0), y=node.data(1), transpose_x=flip_a, transpose_y=flip_b,
        name=f"{node.result}_product" if alpha != 1 or node.has(2) else node.result,
    )  # fmt: skip
    number = types.nptype_from_builtin(y.dtype)
    if alpha != 1:
        name = f"{node.result}_scaled" if node.has(2) else node.result
        y = mb.mul(x=y, y=number(alpha), name=name)
    if not node.has(2):
        return y
    bias = node.data(2)
    if beta != 1:
        bias = mb.mul(x=bias, y=number(beta), name=f"{node.result}_bias")
    return mb.add(x=y, y=bias, name=node.result)

"""What is known of the sign of a computed value: indices that were counted are never negative."""

from __future__ import annotations

from typing import Any

import numpy as np

# Operations that only move, choose or repeat the numbers of their `x`.
_MOVES = frozenset({
    "cast", "expand_dims", "gather", "gather_along_axis", "gather_nd", "identity", "reduce_max",
    "reduce_min", "reshape", "slice_by_index", "split", "squeeze", "tile", "transpose",
})  # fmt: skip
_BOTH = frozenset({"add", "floor_div", "minimum", "mul"})  # negative only where an operand is


def is_never_negative(value: Any) -> bool:
    """Whether no number of `value`, a `Var` or an array, can be below 0, as far as one can see."""
    if isinstance(value, (np.ndarray, np.generic, int, float)):
        return bool((np.asarray(value) >= 0).all())
    if value.val is not None:
        return bool((np.asarray(value.val) >= 0).all())
    op = value.op
    if op is None:
        return False
    kind = op.op_type
    if kind in ("reduce_argmax", "reduce_argmin", "shape", "abs", "relu", "sigmoid", "exp"):
        return True
    if kind == "topk" and value is op.outputs[1]:
        return True
    if kind in _MOVES:
        return is_never_negative(op.x)
    if kind in _BOTH:
        return is_never_negative(op.x) and is_never_negative(op.y)
    if kind == "mod":  # it has the sign of its second operand
        return is_never_negative(op.y)
    if kind == "maximum":
        return is_never_negative(op.x) or is_never_negative(op.y)
    if kind == "concat":
        return all(map(is_never_negative, op.values))
    return False

"""Between which bounds a value of a MIL program stays, whatever the image is."""

from __future__ import annotations

import math

import numpy as np

from edgerep.export.coreml.node import Var

Bounds = tuple[float, float]

_SCORES = ("sigmoid", "softmax", "sigmoid_hard")  # 0..1 by what they are
# What moves, leaves out or repeats values, or takes some mean or extreme of them.
_KEEPING = (
    "cast", "reshape", "squeeze", "expand_dims", "transpose", "slice_by_index", "slice_by_size",
    "concat", "stack", "split", "gather", "gather_along_axis", "tile", "reduce_mean", "reduce_max",
    "reduce_min", "maximum", "minimum", "identity",
)  # fmt: skip
_ANY: Bounds = (-math.inf, math.inf)
_DEEPEST = 40  # operations; a network's head has fewer


def is_score(var: Var) -> bool:
    """Whether a value is certainly in 0..1: a score already, of which no softmax is to be taken."""
    low, high = _bounds(var, _DEEPEST)
    return low >= 0 and high <= 1


def _bounds(var: Var, depth: int) -> Bounds:
    if getattr(var, "val", None) is not None:
        values = np.asarray(var.val)
        numeric = values.size and values.dtype.kind in "fiu"
        return (float(values.min()), float(values.max())) if numeric else _ANY
    if var.op is None or depth == 0:
        return _ANY
    kind, inputs = var.op.op_type, var.op.inputs
    if kind in _SCORES:
        return 0.0, 1.0
    if kind == "tanh":
        return -1.0, 1.0
    if kind in _KEEPING:
        return _hull([_bounds(one, depth - 1) for one in _operands(inputs)])
    if kind in ("add", "sub", "mul", "real_div"):
        return _arithmetic(kind, inputs["x"], inputs["y"], depth - 1)
    if kind in ("relu", "clip", "exp", "sqrt"):
        low, high = _bounds(inputs["x"], depth - 1)
        if kind == "relu":
            return max(low, 0.0), max(high, 0.0)
        if kind == "clip":
            least, most = float(inputs["alpha"].val), float(inputs["beta"].val)
            return min(max(low, least), most), max(min(high, most), least)
        if kind == "exp":
            return math.exp(low) if low > -700 else 0.0, math.exp(high) if high < 700 else math.inf
        return math.sqrt(max(low, 0.0)), math.sqrt(max(high, 0.0))
    return _ANY


def _operands(inputs: dict[str, object]) -> list[Var]:
    """The values that an operation moves, not its axes and shapes."""
    found = [inputs[name] for name in ("x", "y", "values") if inputs.get(name) is not None]
    return [
        one for value in found for one in (value if isinstance(value, list | tuple) else [value])
    ]


def _hull(bounds: list[Bounds]) -> Bounds:
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _arithmetic(kind: str, left: Var, right: Var, depth: int) -> Bounds:
    (a, b), (c, d) = _bounds(left, depth), _bounds(right, depth)
    if kind == "add":
        return a + c, b + d
    if kind == "sub":
        return a - d, b - c
    if kind == "real_div":
        total = right.op is not None and right.op.op_type == "reduce_sum"
        if total and right.op.inputs["x"] is left and a >= 0:  # a softmax in its parts
            return 0.0, 1.0
        if not (c > 0 or d < 0):
            return _ANY
        c, d = 1 / d, 1 / c
    if not all(map(math.isfinite, (a, b, c, d))):
        return _ANY
    corners = (a * c, a * d, b * c, b * d)
    return min(corners), max(corners)

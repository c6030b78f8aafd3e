"""Comparisons, what is made of their answers, and the choice by them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.operators.arithmetic import Emit, is_truth
from edgerep.export.coreml.quiet_coremltools import mb
from edgerep.export.coreml.sizes import is_known


def comparison(builder: Any) -> Emit:
    def emit(node: OnnxNode) -> Var:
        x, y = node.data(0), node.data(1)
        if is_truth(x):
            node.refuse("it compares truth values in order")
        return builder(x=x, y=y, name=node.result)

    return emit


def equal(node: OnnxNode) -> Var:
    x, y = node.data(0), node.data(1)
    if not is_truth(x):
        return mb.equal(x=x, y=y, name=node.result)
    differ = mb.logical_xor(x=x, y=y, name=f"{node.result}_differ")
    return mb.logical_not(x=differ, name=node.result)


def where(node: OnnxNode) -> Var:
    """Emit `Where`; MIL infers the shape of `select` from its second and third operand alone."""
    condition, a, b = node.data(0), node.data(1), node.data(2)
    shape = _together(node, (np.shape(condition), np.shape(a), np.shape(b)))
    if _together(node, (np.shape(a), np.shape(b))) != shape:
        a = _spread(node, a, condition, shape)
    return mb.select(cond=condition, a=a, b=b, name=node.result)


def _together(node: OnnxNode, shapes: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...]:
    """The shape that operands of `shapes` broadcast to."""
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*((1,) * (rank - len(s)) + tuple(s) for s in shapes), strict=True):
        larger = {size for size in sizes if size != 1}
        if len(larger) > 1:
            node.refuse(f"its inputs {[list(s) for s in shapes]} do not fit each other")
        result.append(larger.pop() if larger else 1)
    return tuple(result)


def _spread(node: OnnxNode, value: Var | Array, condition: Var, shape: tuple[Any, ...]) -> Any:
    """`value` as large as the condition: what is chosen from is too small to give the shape."""
    if isinstance(value, (np.ndarray, np.generic)) and all(map(is_known, shape)):
        return np.broadcast_to(value, [int(size) for size in shape]).copy()
    name = f"{node.result}_like"
    if isinstance(value, (np.ndarray, np.generic)) and math.prod(value.shape) == 1:
        return mb.fill_like(
            ref_tensor=condition, value=np.asarray(value).reshape(())[()], name=name
        )
    node.refuse("it chooses by a condition that is larger than both of what it chooses from")

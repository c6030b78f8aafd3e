"""Einsum: products of tensors, summed over the axes that the result does not have.

It is taken apart into sums, transposes, reshapes and matrix products, two operands at a time: MIL's
own operation of that name knows a few equations only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.operators.shapes import regrouped, turned
from edgerep.export.coreml.quiet_coremltools import mb

_LABELS = re.compile(r"\.\.\.|[A-Za-z]")
_DOTS = "..."


@dataclass(frozen=True, eq=False)
class _Operand:
    """A tensor and the label of each of its axes."""

    value: Any
    labels: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, Any]:
        return dict(zip(self.labels, self.value.shape, strict=True))


def einsum(node: OnnxNode) -> Var:
    operands, wanted = _parsed(node)
    for number, other in enumerate(operands[1:], 1):
        later = {label for operand in operands[number + 1 :] for label in operand.labels}
        kept = {*wanted, *later}
        name = f"{node.result}_{number}"
        operands[0] = _product(node, operands[0], other, kept, name)
    result = _summed(operands[0], set(wanted), f"{node.result}_sum")
    perm = [result.labels.index(label) for label in wanted]
    return turned(result.value, perm, node.result)


def _parsed(node: OnnxNode) -> tuple[list[_Operand], tuple[str, ...]]:
    """The operands with a label for each axis, and the labels of the result."""
    equation = "".join(node.get("equation", "").split())
    left, arrow, right = equation.partition("->")
    operands = []
    for index, term in enumerate(left.split(",")):
        value = node.data(index)
        if "".join(_LABELS.findall(term)) != term:
            node.refuse(f"its equation {equation} cannot be read")
        operands.append(_Operand(value, _spread(term, len(value.shape))))
    dots = max(([x for x in o.labels if len(x) > 1] for o in operands), key=len, default=[])
    named = [x for o in operands for x in o.labels if len(x) == 1]
    once = "".join(sorted(x for x in set(named) if named.count(x) == 1))
    wanted = [
        label
        for part in _LABELS.findall(right if arrow else _DOTS + once)
        for label in (dots if part == _DOTS else [part])
    ]
    sizes: dict[str, Any] = {}
    for operand in operands:
        if len(set(operand.labels)) != len(operand.value.shape):
            node.refuse(f"{equation} takes a diagonal, or does not fit {list(operand.value.shape)}")
        for label, size in operand.sizes.items():
            if sizes.setdefault(label, size) != size:
                node.refuse(f"{equation} stretches an axis of {size} or {sizes[label]}")
    if len(set(wanted)) != len(wanted) or not set(wanted) <= set(sizes):
        node.refuse(f"the result of {equation} has an axis twice, or one that no input has")
    return operands, tuple(wanted)


def _spread(term: str, rank: int) -> tuple[str, ...]:
    """The labels of a term; dots stand for as many axes as are left, counted from the last."""
    parts = _LABELS.findall(term)
    open_axes = rank - len(parts) + 1
    dots = [f"{_DOTS}{number}" for number in range(open_axes, 0, -1)]
    return tuple(x for part in parts for x in (dots if part == _DOTS else [part]))


def _product(node: OnnxNode, x: _Operand, y: _Operand, kept: set[str], name: str) -> _Operand:
    """The product of two operands, summed over what neither the result nor a later one has."""
    x = _summed(x, kept | set(y.labels), f"{name}_left")
    y = _summed(y, kept | set(x.labels), f"{name}_right")
    shared = [label for label in x.labels if label in y.labels]
    batch = [label for label in shared if label in kept]
    inner = [label for label in shared if label not in kept]
    rows = [label for label in x.labels if label not in shared]
    columns = [label for label in y.labels if label not in shared]
    sizes = x.sizes | y.sizes

    def arranged(operand: _Operand, groups: Sequence[Sequence[str]], side: str) -> Var | Array:
        order = [label for group in groups for label in group]
        perm = [operand.labels.index(label) for label in order]
        value = operand.value
        if isinstance(value, np.ndarray):
            value = value.transpose(perm)
        else:
            value = turned(value, perm, f"{name}_{side}_turned")
        shape = [math.prod(sizes[label] for label in group) for group in groups]
        return regrouped(node, value, shape, f"{name}_{side}_matrix")

    # Axes that both keep are those of a stack of matrices; beyond three they are made one.
    stack = [[label] for label in batch] if len(batch) <= 3 else [batch]
    matrices = mb.matmul(
        x=arranged(x, [*stack, rows, inner], "left"),
        y=arranged(y, [*stack, inner, columns], "right"),
        name=f"{name}_product",
    )
    labels = (*batch, *rows, *columns)
    value = regrouped(node, matrices, [sizes[label] for label in labels], f"{name}_axes")
    return _Operand(value, labels)


def _summed(operand: _Operand, kept: set[str], name: str) -> _Operand:
    """An operand summed over the axes that are not kept."""
    axes = [axis for axis, label in enumerate(operand.labels) if label not in kept]
    if not axes:
        return operand
    labels = tuple(label for label in operand.labels if label in kept)
    if isinstance(operand.value, np.ndarray):
        return _Operand(operand.value.sum(axis=tuple(axes)), labels)
    summed = mb.reduce_sum(x=operand.value, axes=axes, keep_dims=False, name=name)
    return _Operand(summed, labels)

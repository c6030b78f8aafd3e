"""Operators that move or regroup numbers and compute none.

Shapes are fixed except for the batch, which may be a symbol. A target shape can then hold one
-1, and that has to be the batch: whatever else ONNX left open is filled in here.
"""

from __future__ import annotations

import math
from typing import Any

from edgerep.export.apple import mb
from edgerep.export.mil_node import Node, Var


def reshape(node: Node) -> Var:
    x = node.data(0)
    target = node.integers("shape", 1) or []
    if not node.get("allowzero", 0):
        target = [x.shape[i] if size == 0 else size for i, size in enumerate(target)]
    return _reshaped(node, x, target)


def flatten(node: Node) -> Var:
    x = node.data(0)
    axis = node.get("axis", 1)
    axis += x.rank if axis < 0 else 0
    return _reshaped(node, x, [_product(x.shape[:axis]), _product(x.shape[axis:])])


def transpose(node: Node) -> Var:
    x = node.data(0)
    perm = node.get("perm", list(reversed(range(x.rank))))
    return mb.transpose(x=x, perm=perm, name=node.result)


def squeeze(node: Node) -> Var:
    x, axes = node.data(0), node.integers("axes", 1)
    if axes is None and not all(map(_is_known, x.shape)):
        node.refuse("it squeezes every dimension of size 1, and the batch can be one: name `axes`")
    return mb.squeeze(x=x, axes=axes or _ones(x), name=node.result)


def unsqueeze(node: Node) -> Var:
    return mb.expand_dims(x=node.data(0), axes=node.integers("axes", 1), name=node.result)


def concat(node: Node) -> Var:
    values = [node.data(index) for index in range(len(node.inputs))]
    return mb.concat(values=values, axis=node.get("axis", None), name=node.result)


def _reshaped(node: Node, x: Var, target: list[Any]) -> Var:
    """Reshape to sizes of which one may be -1 and one may be the symbolic batch."""
    symbols = [i for i, size in enumerate(target) if not _is_known(size)]
    if symbols and -1 in target:
        # The batch is in its place, so the -1 is the product of what is known in x over the
        # product of what is known in the target.
        known = math.prod(size for size in x.shape if _is_known(size))
        target[target.index(-1)] = known // math.prod(
            size for size in target if _is_known(size) and size != -1
        )
    for index in symbols:
        target[index] = -1
    if target.count(-1) > 1:
        node.refuse(f"its target shape {target} leaves more than one dimension open")
    return mb.reshape(x=x, shape=target, name=node.result)


def _ones(x: Var) -> list[int]:
    return [axis for axis, size in enumerate(x.shape) if size == 1]


def _product(sizes: Any) -> Any:
    return math.prod(sizes) if all(map(_is_known, sizes)) else -1


def _is_known(size: Any) -> bool:
    return isinstance(size, int) or hasattr(size, "dtype")

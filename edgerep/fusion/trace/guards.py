"""Nodes that only look at shapes and types."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx


def assert_decision(found: Any, recorded: Any, where: str) -> None:
    """Refuse a call in which code would decide otherwise than when it was recorded.

    Args:
        found: What the code decides by now.
        recorded: What it decided by then, a truth or a number.
        where: The line of the code.

    Raises:
        ValueError: They differ.
    """
    if (bool(found) if isinstance(recorded, bool) else found) != recorded:
        raise ValueError(
            f"{where or 'its code'} decides by the size of its input, and is now given one with "
            f"which it would decide otherwise than when it was fused: fuse it with such inputs"
        )


_LOOKING: frozenset[Callable[..., Any]] = frozenset(
    {operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.mod,
     operator.and_, operator.or_, operator.not_, operator.getitem, getattr, len, int, float}
)  # fmt: skip
_LOOKING_METHODS = frozenset({"dim", "size", "is_floating_point", "numel", "ndimension"})
_LOOKING_ATTRIBUTES = frozenset({"ndim", "shape", "dtype", "device", "requires_grad"})


def guards(graph: fx.Graph) -> frozenset[fx.Node]:
    """Nodes that only look at shapes and types to assert something about them.

    They read a value without using it: a value that only they read besides the region that it
    belongs to may go. What is read for the words of an assertion leads nowhere at all.
    """
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if _asserts(node) or (looks(node) and all(user in found for user in node.users)):
            found.add(node)
    return frozenset(found)


def _asserts(node: fx.Node) -> bool:
    name = getattr(node.target, "__name__", "")
    return node.op == "call_function" and (
        node.target in (torch._assert, assert_decision) or "_assert" in name or name == "_guards_fn"
    )


def looks(node: fx.Node) -> bool:
    """Whether a node only asks for a tensor's shape or type, or works with such answers."""
    if node.op == "call_method":
        return node.target in _LOOKING_METHODS
    if node.op != "call_function" or node.target not in _LOOKING:
        return False
    return node.target is not getattr or node.args[1] in _LOOKING_ATTRIBUTES

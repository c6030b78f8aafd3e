"""Sums, differences and products as operations: of activations, and of one with a constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from edgerep.fusion.algebra.linear_map import diagonal_map
from edgerep.fusion.operators.node_arguments import named_arguments, unrepeated
from edgerep.fusion.operators.operation import Node, Operation, Step, Sum, View
from edgerep.torch_modules.float64 import float64_device


def plus(view: View, node: Node) -> Operation | None:
    """`x + y`, `torch.add`."""
    return _added(1, view, node)


def minus(view: View, node: Node) -> Operation | None:
    """`x - y`, `torch.sub`."""
    return _added(-1, view, node)


def _added(sign: float, view: View, node: Node) -> Operation | None:
    given = named_arguments(node, ("input", "other", "alpha"), {"alpha": 1})
    if not isinstance(given["alpha"], int | float):
        return None
    by = sign * float(given["alpha"])
    return _sum(view, node, ((1.0, given["input"]), (by, given["other"])))


def summed(view: View, node: Node) -> Operation | None:
    """Python's `sum` of a list of tensors."""
    given = named_arguments(node, ("items", "start"), {"start": 0})
    if not isinstance(given["items"], list | tuple):
        return None
    return _sum(view, node, [(1.0, item) for item in (*given["items"], given["start"])])


def _sum(view: View, node: Node, parts: Sequence[tuple[float, Any]]) -> Operation | None:
    terms: list[tuple[float, Node]] = []
    shift: Tensor | None = None
    for by, value in parts:
        if _is_image(view, value):
            if view.facts[value].shape != view.facts[node].shape:
                return None
            terms.append((by, value))
            continue
        constant = _per_channel(view, node, value)
        if constant is None:
            return None
        shift = by * constant if shift is None else shift + by * constant
    if shift is not None and not bool(shift.any()):
        shift = None
    return Sum(tuple(terms), shift) if terms else None


def times(view: View, node: Node) -> Operation | None:
    """`x * constant`, `constant * x`."""
    given = named_arguments(node, ("input", "other"), {})
    first, second = given["input"], given["other"]
    image, constant = (first, second) if _is_image(view, first) else (second, first)
    return _scaled(view, node, image, constant, lambda value: value)


def divided(view: View, node: Node) -> Operation | None:
    """`x / constant`."""
    given = named_arguments(node, ("input", "other"), {})
    return _scaled(view, node, given["input"], given["other"], torch.reciprocal)


def negated(view: View, node: Node) -> Operation | None:
    """`-x`."""
    source = node.args[0]
    return Sum(((-1.0, source),)) if view.is_activation(source) else None  # type: ignore[arg-type]


def _scaled(
    view: View, node: Node, image: Any, constant: Any, change: Callable[[Tensor], Tensor]
) -> Operation | None:
    if not _is_image(view, image) or _is_image(view, constant):
        return None
    if view.facts[image].shape != view.facts[node].shape:
        return None
    value = _per_channel(view, node, constant)
    if value is None:
        return None
    scale = change(value)
    made = diagonal_map(lambda: scale, None, view.channels(image), view.axes(image))
    return Step(image, made)


def _is_image(view: View, value: Any) -> bool:
    return view.is_activation(value) and unrepeated(view, value) is value


def _per_channel(view: View, node: Node, value: Any) -> Tensor | None:
    """A constant operand as one number per channel, [C] float64; None if it is anything else."""
    found = repeated_constant(view, value, view.channels(node), view.axes(node))
    return None if found is None else found.to(float64_device(view.facts[node].device))


def repeated_constant(view: View, value: Any, channels: int, axes: int) -> Tensor | None:
    """A constant that is broadcast over [N, channels, *axes], as [channels] float64.

    How often it was repeated before does not matter: the size of an image may be in that.
    """
    value = unrepeated(view, value)
    if not view.constants.holds(value):
        return None
    found = view.constants.value(value)
    if isinstance(found, bool) or not isinstance(found, int | float | Tensor):
        return None
    return one_per_channel(torch.as_tensor(found, dtype=torch.float64), channels, axes)


def one_per_channel(tensor: Tensor, channels: int, axes: int) -> Tensor | None:
    """A tensor that is broadcast over [N, channels, *axes], as [channels].

    None if it has other numbers at other places than at other channels.
    """
    if tensor.numel() == 1:
        return tensor.reshape(1).expand(channels)
    shape = (1,) * (axes + 2 - tensor.ndim) + tuple(tensor.shape)
    return tensor.reshape(channels) if shape == (1, channels, *(1,) * axes) else None

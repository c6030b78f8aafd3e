"""A padded image whose border is overwritten in place with one constant per channel.

This is how a block pads with what a constant becomes that stands before the padding: the layer of
BatchNorm and padding of X. Ding et al., "Diverse Branch Block", CVPR 2021; the edge-oriented block
of X. Zhang et al., "Edge-oriented Convolution Block for Real-time Super Resolution", ACM MM 2021.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from edgerep.fusion.operators.arithmetic import repeated_constant
from edgerep.fusion.operators.operation import Node, Step, View
from edgerep.fusion.operators.reading import read_operation

_SIDES = (5, 8, 9)  # of images on which is tried what an index selects


@dataclass(frozen=True, eq=False)
class _Write:
    """One assignment: the nodes that make it, what it selects, and what it writes."""

    nodes: tuple[Node, ...]
    index: tuple[Any, ...]
    value: Any


def bordered(view: View, node: Node, writers: Sequence[Node]) -> Step | None:
    """A padding whose whole border, and nothing else, is overwritten with one constant per channel.

    Args:
        view: Of the graph.
        node: The padding.
        writers: All nodes that write to its result, in order.
    """
    step = read_operation(view, node)
    if not isinstance(step, Step) or not _is_padding(step) or view.memory.get(node, node) != node:
        return None
    writes = [_write_of(node, writer, view.axes(node)) for writer in writers]
    nodes = {part for write in writes if write for part in write.nodes}
    if not all(writes) or any(user < writers[-1] and user not in nodes for user in node.users):
        return None  # somebody reads it in between
    fill: Tensor | None = None
    for write in writes:
        if write is None:
            return None
        axes = view.axes(node) - sum(isinstance(part, int) for part in write.index[2:])
        value = repeated_constant(view, write.value, view.channels(node), axes)
        if value is None or (fill is not None and not torch.equal(fill, value)):
            return None
        fill = value
    if not _cover_the_border(step, [write.index for write in writes if write]):
        return None
    return replace(step, fill=fill, parts=tuple(sorted(nodes)))


def _is_padding(step: Step) -> bool:
    made = step.map
    one = all(k == 1 for k in made.size) and all(s == 1 for s in made.stride)
    return made.is_depthwise and one and made.bias is None and made.words == ("pad",)


def _write_of(node: Node, writer: Node, axes: int) -> _Write | None:
    """What a node assigns to a part of `node`; None if it is no such assignment."""
    if writer.kwargs or not writer.args:
        return None
    if writer.target is operator.setitem and writer.args[0] is node:
        index = _whole_index(writer.args[1], axes)
        return None if index is None else _Write((writer,), index, writer.args[2])
    part = writer.args[0]
    is_copy = writer.op == "call_method" and writer.target in ("copy_", "fill_")
    if not is_copy or len(writer.args) != 2 or not isinstance(part, Node) or writer.users:
        return None
    if part.target is not operator.getitem or part.args[0] is not node or len(part.users) != 1:
        return None
    index = _whole_index(part.args[1], axes)
    return None if index is None else _Write((part, writer), index, writer.args[1])


def _whole_index(index: Any, axes: int) -> tuple[Any, ...] | None:
    """An index with a slice or a number for every axis; None if it is not made of those."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if parts.count(Ellipsis) == 1:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (axes + 3 - len(parts))
    parts += [slice(None)] * (axes + 2 - len(parts))
    if len(parts) != axes + 2 or any(part != slice(None) for part in parts[:2]):
        return None
    return tuple(parts) if all(map(_is_static, parts)) else None


def _is_static(part: Any) -> bool:
    numbers = (part.start, part.stop, part.step) if isinstance(part, slice) else (part,)
    return all(type(number) in (int, type(None)) for number in numbers) and part is not None


def _cover_the_border(step: Step, indices: Sequence[tuple[Any, ...]]) -> bool:
    """Whether indices select a padding's border and nothing else, whatever the size."""
    axes = len(step.map.size)
    before = [-offset for offset in step.map.offset]
    behind = [extent + 1 - front for extent, front in zip(step.map.extent, before, strict=True)]
    if min((*before, *behind)) < 0:
        return False  # a crop
    for side in _SIDES:
        sides = [side + axis for axis in range(axes)]
        whole = [a + b + c for a, b, c in zip(before, sides, behind, strict=True)]
        border = torch.ones(1, 1, *whole, dtype=torch.bool)
        inner: Any = (..., *(slice(a, a + b) for a, b in zip(before, sides, strict=True)))
        border[inner] = False
        selected = torch.zeros_like(border)
        try:
            for index in indices:
                selected[index] = True
        except IndexError:
            return False
        if not torch.equal(selected, border):
            return False
    return True

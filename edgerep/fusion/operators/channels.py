"""Parts of the channels, taken by an index or a split, and tensors concatenated along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from edgerep.fusion.algebra.channels import selected_channels
from edgerep.fusion.operators.node_arguments import named_arguments
from edgerep.fusion.operators.operation import Concat, Node, Operation, Same, Step, View

aten = torch.ops.aten
_SPLITS = frozenset({torch.split, aten.split.Tensor, aten.split_with_sizes.default})
_CHUNKS = frozenset({torch.chunk, aten.chunk.default})
_CHANNELS = 1  # the axis


def concatenation(view: View, node: Node) -> Operation | None:
    """`torch.cat` of images along their channels."""
    given = named_arguments(node, ("tensors", "dim"), {"dim": 0})
    parts, axis = given["tensors"], given["dim"]
    if not isinstance(parts, list | tuple) or not all(map(view.is_activation, parts)):
        return None
    if not _is_along_channels(view, node, axis):
        return None
    return Concat(tuple(parts))


def narrowed(view: View, node: Node) -> Operation | None:
    """`x.narrow(1, start, length)`."""
    given = named_arguments(node, ("input", "dim", "start", "length"), {})
    source, start, length = given["input"], given["start"], given["length"]
    if not view.is_activation(source) or type(start) is not int or type(length) is not int:
        return None
    if not _is_along_channels(view, source, given["dim"]):
        return None
    start += view.channels(source) if start < 0 else 0
    return _part(view, source, start, start + length)


def part_by_index(view: View, source: Node, index: Sequence[Any]) -> Operation | None:
    """`x[:, start:stop]`, an index with a slice for every axis, of which one selects."""
    chosen = index[_CHANNELS]
    others = [part for axis, part in enumerate(index) if axis != _CHANNELS]
    if any(part != slice(None) for part in others) or chosen.step not in (None, 1):
        return None
    if any(type(end) not in (int, type(None)) for end in (chosen.start, chosen.stop)):
        return None
    if chosen.start in (0, None) and chosen.stop is None:
        return Same(source)
    start, stop, _ = chosen.indices(view.channels(source))
    return _part(view, source, start, stop)


def part_of_split(view: View, source: Node, index: Any) -> Operation | None:
    """One of the tensors that `split` or `chunk` gives, `source` being that call."""
    is_method = source.op == "call_method" and source.target in ("split", "chunk")
    is_split = source.target in _SPLITS or (is_method and source.target == "split")
    is_chunk = source.target in _CHUNKS or (is_method and source.target == "chunk")
    if type(index) is not int or not (is_split or is_chunk):
        return None
    names = ("input", "split_size_or_sections" if is_split else "chunks", "dim")
    spelt = {"tensor": "input", "split_size": names[1], "split_sizes": names[1], "self": "input"}
    given: dict[str, Any] = {"dim": 0, **dict(zip(names, source.args, strict=False))}
    given |= {spelt.get(name, name): value for name, value in source.kwargs.items()}
    image, count = given.get("input"), given.get(names[1])
    if not isinstance(image, fx.Node) or not view.is_activation(image):
        return None
    if not _is_along_channels(view, image, given["dim"]):
        return None
    sizes = _sizes(view.channels(image), count, chunks=is_chunk)
    if sizes is None or not -len(sizes) <= index < len(sizes):
        return None
    start = sum(sizes[: index % len(sizes)])
    return _part(view, image, start, start + sizes[index], through=source)


def _sizes(channels: int, count: Any, *, chunks: bool) -> list[int] | None:
    if isinstance(count, list | tuple) and all(type(size) is int for size in count):
        return list(count)
    if type(count) is not int or count < 1:
        return None
    each = -(-channels // count) if chunks else count
    return [min(each, channels - start) for start in range(0, channels, each)]


def _part(
    view: View, source: Node, start: int, stop: int, through: Node | None = None
) -> Operation | None:
    channels = view.channels(source)
    if not 0 <= start < stop <= channels:
        return None
    if through is None and stop - start == channels:
        return None  # of tokens, say, there may be more at another size
    made = selected_channels(channels, start, stop, view.axes(source))
    parts = () if through is None else (through,)
    return Step(source, made, parts=parts, selects=True)


def _is_along_channels(view: View, node: Node, axis: Any) -> bool:
    return type(axis) is int and axis in (_CHANNELS, -1 - view.axes(node))

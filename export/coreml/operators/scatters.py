"""Operators that write numbers into a tensor, as `y[..., 0:2] = ...` of a network's code does.

What is written at constant places that make a block is put between the parts that stay, which is
the same and needs no operation that writes. Anything else is MIL's own scatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.operators.arithmetic import is_truth
from edgerep.export.coreml.operators.picks import any_from_start, places_from_start
from edgerep.export.coreml.operators.shapes import regrouped, turned, unturned
from edgerep.export.coreml.operators.slices import take_range
from edgerep.export.coreml.quiet_coremltools import mb
from edgerep.export.coreml.sizes import is_known

# As MIL calls what ONNX's `reduction` does with a number that is there already.
_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def scatter_nd(node: OnnxNode) -> Var:
    """Emit `ScatterND`, whose last dimension of indices is a place in the first dimensions."""
    mode = _mode(node)
    data, updates = node.data(0), node.data(2)
    indices = node.known(1) if node.is_constant(1) else node.data(1)
    depth = int(indices.shape[-1])
    sizes = data.shape[:depth]
    if not all(map(is_known, sizes)):
        node.refuse("it writes into chosen images of the batch")
    indices = places_from_start(node, indices, [int(size) for size in sizes])
    if isinstance(indices, np.ndarray) and mode == "update":
        block = _block(indices)
        if block is not None:
            starts, counts = block
            blocked = [*counts, *data.shape[depth:]]
            return _with_block_in_place(node, data, updates, starts, blocked)
    _require_numbers(node, data)
    return mb.scatter_nd(data=data, indices=indices, updates=updates, mode=mode, name=node.result)


def scatter_elements(node: OnnxNode) -> Var:
    """Emit `ScatterElements`: only as much of the data as the indices are long is written to."""
    mode = _mode(node)
    data, updates = node.data(0), node.data(2)
    axis = node.get("axis", 0) % len(data.shape)
    if not is_known(data.shape[axis]):
        node.refuse("it writes into chosen images of the batch")
    indices = node.known(1) if node.is_constant(1) else node.data(1)
    indices = any_from_start(node, indices, int(data.shape[axis]))
    _require_numbers(node, data)
    reached = [*indices.shape]
    reached[axis] = data.shape[axis]
    part = data
    for other, (wide, narrow) in enumerate(zip(data.shape, reached, strict=True)):
        if wide != narrow:
            if not (is_known(wide) and is_known(narrow)):
                node.refuse(f"its indices {list(indices.shape)} leave out images of the batch")
            part = take_range(part, other, 0, int(narrow), f"{node.result}_reached_{other}")
    name = node.result if part is data else f"{node.result}_written"
    written = mb.scatter_along_axis(
        data=part, indices=indices, updates=updates, axis=axis, mode=mode, name=name
    )
    return _with_block(data, written, [0] * len(reached), reached, node.result)


def _mode(node: OnnxNode) -> str:
    asked = node.get("reduction", "none")
    if asked not in _MODES:
        node.refuse(f"its reduction is {asked}; Core ML has {', '.join(_MODES)}")
    return _MODES[asked]


def _require_numbers(node: OnnxNode, data: Var | Array) -> None:
    if is_truth(data):
        node.refuse("it writes truth values; Core ML's scatter takes numbers")


def _block(indices: Array) -> tuple[list[int], list[int]] | None:
    """Where the block begins that places [..., depth] count through, and its sizes; or None."""
    places = indices.reshape(-1, indices.shape[-1])
    if not places.size:
        return None
    starts = places[0]
    counts = places[-1] - starts + 1
    if (counts < 1).any() or int(np.prod(counts)) != len(places):
        return None
    whole = np.stack(np.unravel_index(np.arange(len(places)), tuple(counts)), axis=-1) + starts
    if not np.array_equal(whole, places):
        return None
    return [int(n) for n in starts], [int(n) for n in counts]


def _with_block_in_place(
    node: OnnxNode, data: Any, updates: Any, starts: list[int], sizes: list[Any]
) -> Var:
    """`data` with a block replaced, in the layout that it had before it was turned for ONNX.

    ScatterND writes along the first dimensions, so exporters turn the tensor, write, and turn it
    back; here the block is put where it was, and turning twice is turning not at all.
    """
    source, perm = unturned(data)
    block, same = unturned(updates)
    if perm is not None and isinstance(updates, np.ndarray):
        block, same = updates.reshape(sizes).transpose(np.argsort(perm)), perm
    if perm is None or perm != same or list(block.shape) != [sizes[i] for i in np.argsort(perm)]:
        starts = starts + [0] * (len(data.shape) - len(starts))
        block = regrouped(node, updates, sizes, f"{node.result}_block")
        return _with_block(data, block, starts, sizes, node.result)
    starts = starts + [0] * (len(perm) - len(starts))
    back = np.argsort(perm)
    written = _with_block(
        source, block, [starts[i] for i in back], [sizes[i] for i in back], f"{node.result}_turned"
    )
    return turned(written, perm, node.result)


def _with_block(
    data: Any, block: Any, starts: Sequence[int], sizes: Sequence[Any], name: str
) -> Any:
    """`data` with `block`, of `sizes`, in the place that begins at `starts`; `block` if all of it.

    Along one axis it is the parts before and behind, with the block between; the part beside it is
    filled likewise along the next.
    """
    axis = next((a for a, size in enumerate(sizes) if size != data.shape[a]), None)
    if axis is None:
        return block
    begin, end, size = starts[axis], starts[axis] + int(sizes[axis]), int(data.shape[axis])
    between = take_range(data, axis, begin, end, f"{name}_{axis}_between")
    parts = [_with_block(between, block, starts, sizes, f"{name}_{axis}")]
    if begin > 0:
        parts.insert(0, take_range(data, axis, 0, begin, f"{name}_{axis}_before"))
    if end < size:
        parts.append(take_range(data, axis, end, size, f"{name}_{axis}_behind"))
    return mb.concat(values=parts, axis=axis, name=name)

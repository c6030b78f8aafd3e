"""Operators that take a part of a tensor, or put something around it.

The batch may be a symbol. It can be passed on whole, and nothing else: a part of it, or a border
around it, would depend on how many images there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb, types
from edgerep.export.coreml.sizes import is_known


def slice_(node: OnnxNode) -> Var:
    x = node.data(0)
    begins, ends = node.integers("starts", 1), node.integers("ends", 2)
    axes = node.integers("axes", 3) or list(range(len(begins or ())))
    steps = node.integers("steps", 4) or [1] * len(axes)
    ranges = {
        axis % x.rank: _range(node, x.shape[axis], begin, end, step)
        for axis, begin, end, step in zip(axes, begins or (), ends or (), steps, strict=True)
    }
    backward = [axis for axis, found in ranges.items() if found is not None and found[2] < 0]
    if backward:
        for axis in backward:  # the same places, in an axis that is turned around
            first, last, step = ranges[axis] or (0, 0, 0)
            size, count = int(x.shape[axis]), len(range(first, last, step))
            start = size - 1 - first
            stop = start + (count - 1) * -step + 1
            ranges[axis] = None if (start, stop, step) == (0, size, -1) else (start, stop, -step)
        is_last = all(found is None for found in ranges.values())
        name = node.result if is_last else f"{node.result}_reversed"
        x = mb.reverse(x=x, axes=backward, name=name)
    if all(found is None for found in ranges.values()):
        return x
    return _sliced(x, ranges, node.result)


def take_one(x: Var, axis: int, index: int, name: str) -> Var:
    """Emit what takes the numbers at one place of an axis, and drops the axis."""
    return _sliced(x, {axis: (index, index + 1, 1)}, name, squeezed=axis)


def take_range(x: Var | Array, axis: int, begin: int, end: int, name: str) -> Var | Array:
    """Emit what takes the places `begin` to `end` of an axis; of a constant they are taken now."""
    if isinstance(x, np.ndarray):
        return x[(slice(None),) * axis + (slice(begin, end),)]
    return _sliced(x, {axis: (begin, end, 1)}, name)


def split(node: OnnxNode) -> tuple[Var, ...]:
    x = node.data(0)
    axis = node.get("axis", 0) % x.rank
    if not is_known(x.shape[axis]):
        node.refuse("it splits the batch")
    sizes = node.integers("split", 1) or _even_parts(x.shape[axis], node)
    if len(sizes) == 1:
        return (x,)
    return tuple(mb.split(x=x, split_sizes=sizes, axis=axis, name=node.result))


# As MIL calls what ONNX calls by these names; it mirrors and repeats in the last two dimensions.
_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate",
              "wrap": "wrap"}  # fmt: skip


def pad(node: OnnxNode) -> Var:
    mode = _PAD_MODES.get(asked := node.get("mode", "constant"))
    if mode is None:
        node.refuse(f"`mode` is {asked}; Core ML can only do {', '.join(_PAD_MODES)}")
    x, widths = node.data(0), node.integers("pads", 1) or []
    axes = node.integers("axes", 3) or list(range(x.rank))
    around = [0] * (2 * x.rank)  # a beginning and an end for each dimension
    for index, axis in enumerate(axes):
        around[2 * (axis % x.rank)] = widths[index]
        around[2 * (axis % x.rank) + 1] = widths[index + len(axes)]
    if min(around) < 0:
        node.refuse(f"its pads {widths} are negative: it cuts, and Core ML's pad does not")
    if not any(around):
        return x
    if any(around[2 * axis] + around[2 * axis + 1] for axis in _open_axes(x)):
        node.refuse("it pads the batch")
    if mode == "wrap":
        return _wrapped(node, x, around)
    if mode != "constant":
        return _bordered(node, x, around, mode)
    number = types.nptype_from_builtin(x.dtype)
    value = number(node.known(2).reshape(())) if node.has(2) else number(0)
    return mb.pad(x=x, pad=around, mode="constant", constant_val=value, name=node.result)


def _bordered(node: OnnxNode, x: Var, around: list[int], mode: str) -> Var:
    if any(around[:-4]):
        node.refuse(f"it pads {mode} before the last two dimensions")
    room = [int(size) - (mode == "reflect") for size in x.shape[-2:]]
    if any(max(around[-4 + 2 * at :][:2]) > size for at, size in enumerate(room)):
        node.refuse(f"its pads {around[-4:]} are more than Core ML's {mode} takes of {x.shape}")
    return mb.pad(x=x, pad=around[-4:], mode=mode, name=node.result)


def _wrapped(node: OnnxNode, x: Var, around: list[int]) -> Var:
    """Emit the end of each axis before it and its beginning behind it: MIL's pad has no `wrap`."""
    axes = [axis for axis in range(x.rank) if any(around[2 * axis : 2 * axis + 2])]
    for axis in axes:
        size = int(x.shape[axis])
        before, behind = around[2 * axis : 2 * axis + 2]
        if max(before, behind) > size:
            node.refuse(f"its pads {before} and {behind} are more than the {size} numbers there")
        name = f"{node.result}_{axis}"
        parts = [x]
        if before:
            parts.insert(0, take_range(x, axis, size - before, size, f"{name}_end"))
        if behind:
            parts.append(take_range(x, axis, 0, behind, f"{name}_beginning"))
        x = mb.concat(values=parts, axis=axis, name=node.result if axis == axes[-1] else name)
    return x


def _range(
    node: OnnxNode, size: Any, begin: int, end: int, step: int
) -> tuple[int, int, int] | None:
    """Where a slice begins and ends, within the dimension; None if that is all of it."""
    if not is_known(size):
        if begin != 0 or end < np.iinfo(np.int32).max or step != 1:
            node.refuse("it takes a part of the batch")
        return None
    first, last, _ = slice(begin, end, step).indices(int(size))
    if step < 0 and end < -int(size):  # ONNX's way to say down to the first
        last = -1
    if not range(first, last, step):
        node.refuse("it takes nothing: Core ML has no empty tensors")
    return None if (first, last, step) == (0, size, 1) else (first, last, step)


def _sliced(
    x: Var,
    ranges: dict[int, tuple[int, int, int] | None],
    name: str,
    *,
    squeezed: int | None = None,
) -> Var:
    taken = [ranges.get(axis) for axis in range(x.rank)]
    known = [int(size) if is_known(size) else 0 for size in x.shape]
    whole = [found is None for found in taken]
    options = {} if squeezed is None else {"squeeze_mask": [a == squeezed for a in range(x.rank)]}
    return mb.slice_by_index(
        x=x,
        begin=[0 if found is None else found[0] for found in taken],
        end=[known[a] if found is None else found[1] for a, found in enumerate(taken)],
        stride=[1 if found is None else found[2] for found in taken],
        begin_mask=whole,
        end_mask=whole,
        name=name,
        **options,
    )


def _even_parts(size: int, node: OnnxNode) -> list[int]:
    """Sizes of equal parts, the last perhaps smaller; opset 13 has one part per output."""
    count = node.get("num_outputs", node.outputs)
    part = -(-size // count)
    return [part] * (count - 1) + [size - part * (count - 1)]


def _open_axes(x: Var) -> list[int]:
    return [axis for axis, size in enumerate(x.shape) if not is_known(size)]

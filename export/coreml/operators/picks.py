"""Operators that pick numbers by their place or by their rank.

Core ML has 32-bit indices; ONNX's are of 64 bits and may count from the end, which Core ML's may
not since iOS 17: those that may be negative are counted from the start first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgerep.export.coreml.node import Array, OnnxNode, Var, is_whole
from edgerep.export.coreml.operators.slices import take_one
from edgerep.export.coreml.quiet_coremltools import mb
from edgerep.export.coreml.signs import is_never_negative
from edgerep.export.coreml.sizes import is_known


def gather(node: OnnxNode) -> Var:
    x = node.data(0)
    axis = node.get("axis", 0) % len(x.shape)
    if not is_known(x.shape[axis]):
        node.refuse("it picks images out of the batch")
    size = int(x.shape[axis])
    if not node.is_constant(1):
        indices = _from_start(node, node.data(1), size)
        return mb.gather(x=x, indices=indices, axis=axis, name=node.result)
    chosen = _known_from_start(node, node.known(1), size)
    if chosen.ndim == 0:
        return take_one(x, axis, int(chosen), node.result)
    return mb.gather(x=x, indices=chosen, axis=axis, name=node.result)


def gather_elements(node: OnnxNode) -> Var:
    x = node.data(0)
    axis = node.get("axis", 0) % len(x.shape)
    if not is_known(x.shape[axis]):
        node.refuse("it picks images out of the batch")
    indices = node.known(1) if node.is_constant(1) else node.data(1)
    for other, (wide, narrow) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if other != axis and wide != narrow:
            node.refuse(f"its indices {list(indices.shape)} leave out a part of {list(x.shape)}")
    indices = any_from_start(node, indices, int(x.shape[axis]))
    return mb.gather_along_axis(x=x, indices=indices, axis=axis, name=node.result)


def gather_nd(node: OnnxNode) -> Var:
    """Emit `GatherND`, whose last dimension of indices is a place in as many dimensions."""
    x, batch = node.data(0), node.get("batch_dims", 0)
    indices = node.known(1) if node.is_constant(1) else node.data(1)
    sizes = x.shape[batch : batch + int(indices.shape[-1])]
    if not all(map(is_known, sizes)):
        node.refuse("it picks images out of the batch")
    indices = places_from_start(node, indices, [int(size) for size in sizes])
    batched = {"batch_dims": batch} if batch else {}
    return mb.gather_nd(x=x, indices=indices, **batched, name=node.result)


def top_k(node: OnnxNode) -> tuple[Var, ...]:
    """Emit `TopK`; of equal numbers ONNX takes the first, and MIL does not say which it takes."""
    x = node.data(0)
    axis = node.get("axis", -1) % x.rank
    if not is_known(x.shape[axis]):
        node.refuse("it ranks the images of the batch")
    count = int(node.known(1).reshape(()))
    if not 0 < count <= x.shape[axis]:
        node.refuse(f"it takes {count} of {x.shape[axis]}")
    ascending = not node.get("largest", 1)
    # Without `sorted` any order will do, and so will a sorted one.
    return tuple(mb.topk(x=x, k=count, axis=axis, ascending=ascending, name=node.result))


def extreme_place(builder: Any) -> Any:
    """What emits `ArgMax` or `ArgMin`; MIL does not say which of equal numbers it takes."""

    def emit(node: OnnxNode) -> Var:
        node.require("select_last_index", 0)
        x = node.data(0)
        axis = node.get("axis", 0) % x.rank
        if not is_known(x.shape[axis]):
            node.refuse("it compares the images of the batch")
        keep = bool(node.get("keepdims", 1))
        return builder(x=x, axis=axis, keep_dims=keep, name=node.result)

    return emit


def places_from_start(node: OnnxNode, indices: Var | Array, sizes: list[int]) -> Var | Array:
    """Places [..., len(sizes)] in as many dimensions, none of them counted from the end."""
    if isinstance(indices, np.ndarray):
        chosen = np.where(indices < 0, indices + np.array(sizes), indices)
        if ((chosen < 0) | (chosen >= np.array(sizes, dtype=int))).any():
            node.refuse(f"it picks beyond {sizes}")
        return chosen.astype(np.int32)
    if is_never_negative(indices):
        return indices
    from_end = mb.add(x=indices, y=np.array(sizes, np.int32), name=f"{node.result}_from_end")
    return _where_negative(node, indices, from_end)


def any_from_start(node: OnnxNode, indices: Var | Array, size: int) -> Var | Array:
    """Places on an axis of `size`, none of them counted from the end."""
    if isinstance(indices, np.ndarray):
        return _known_from_start(node, indices, size)
    return _from_start(node, indices, size)


def _known_from_start(node: OnnxNode, indices: Array, size: int) -> Array:
    chosen = np.where(indices < 0, indices + size, indices).astype(np.int32)
    if ((chosen < 0) | (chosen >= size)).any():
        node.refuse(f"it picks {indices.reshape(-1)[:8].tolist()} out of {size}")
    return chosen


def _from_start(node: OnnxNode, indices: Var, size: int) -> Var:
    if not is_whole(indices):
        node.refuse("its indices are no whole numbers")
    if is_never_negative(indices):
        return indices
    from_end = mb.add(x=indices, y=np.int32(size), name=f"{node.result}_from_end")
    return _where_negative(node, indices, from_end)


def _where_negative(node: OnnxNode, indices: Var, from_end: Var) -> Var:
    negative = mb.less(x=indices, y=np.int32(0), name=f"{node.result}_negative")
    return mb.select(cond=negative, a=from_end, b=indices, name=f"{node.result}_indices")

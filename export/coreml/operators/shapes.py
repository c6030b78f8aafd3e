"""Operators that move or regroup numbers and compute none.

Shapes are fixed except for the batch, which may be a symbol. MIL's reshape can leave one dimension
open, and that has to be the one with the batch: what else ONNX left open (-1) is worked out here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb
from edgerep.export.coreml.sizes import as_size, is_known, quotient

_HIGHEST_RANK = 5  # of a tensor in Core ML


def reshape(node: OnnxNode) -> Var:
    x = node.data(0)
    target = [as_size(size) for size in node.sizes(1)]
    if not node.get("allowzero", 0):
        target = [x.shape[i] if size == 0 else size for i, size in enumerate(target)]
    if 0 in target:
        node.refuse("its target has a size of 0, and Core ML has no empty tensors")
    return _reshaped(node, x, target)


def flatten(node: OnnxNode) -> Var:
    x = node.data(0)
    axis = node.get("axis", 1)
    axis += x.rank if axis < 0 else 0
    return _reshaped(node, x, [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


def transpose(node: OnnxNode) -> Var:
    x = node.data(0)
    return turned(x, node.get("perm", list(reversed(range(x.rank)))), node.result)


def turned(x: Var, perm: Sequence[int], name: str) -> Var:
    """Emit a transpose; of what is one already, the two in one, and none where they undo it."""
    source, first = unturned(x)
    if first is not None:
        perm = [first[axis] for axis in perm]
    if list(perm) == list(range(x.rank)):
        return source
    return mb.transpose(x=source, perm=list(perm), name=name)


def unturned(x: Var | Array) -> tuple[Var | Array, list[int] | None]:
    """What `x` is the transpose of, and its permutation; `x` and None where it is none."""
    if isinstance(x, (np.ndarray, np.generic)) or x.op is None or x.op.op_type != "transpose":
        return x, None
    return x.op.x, [int(axis) for axis in x.op.perm.val]


def squeeze(node: OnnxNode) -> Var:
    x, axes = node.data(0), node.integers("axes", 1)
    if axes is None and not all(map(is_known, x.shape)):
        node.refuse("it squeezes every dimension of size 1, and the batch can be one: name `axes`")
    axes = axes or _ones(x)
    return mb.squeeze(x=x, axes=axes, name=node.result) if axes else x


def unsqueeze(node: OnnxNode) -> Var:
    return mb.expand_dims(x=node.data(0), axes=node.integers("axes", 1), name=node.result)


def concat(node: OnnxNode) -> Var:
    values = [node.data(index) for index in range(len(node.inputs))]
    return mb.concat(values=values, axis=node.get("axis", None), name=node.result)


def depth_to_space(node: OnnxNode) -> Var:
    """Emit `DepthToSpace`: CRD is torch's pixel shuffle, DCR what TensorFlow calls by this name."""
    x, block = _image(node), node.get("blocksize", 1)
    mode = node.get("mode", "DCR")
    if x.shape[1] % (block * block):
        node.refuse(f"its {x.shape[1]} channels are no multiple of {block}x{block}")
    if block == 1:
        return x
    if mode == "CRD":
        return mb.pixel_shuffle(x=x, upscale_factor=block, name=node.result)
    if mode != "DCR":
        node.refuse(f"its mode is {mode}; Core ML has DCR and CRD")
    return mb.depth_to_space(x=x, block_size=block, name=node.result)


def space_to_depth(node: OnnxNode) -> Var:
    x, block = _image(node), node.get("blocksize", 1)
    if any(side % block for side in x.shape[2:]):
        node.refuse(f"its sides {list(x.shape[2:])} are no multiples of {block}")
    return x if block == 1 else mb.space_to_depth(x=x, block_size=block, name=node.result)


def pixel_unshuffle(node: OnnxNode) -> Var:
    block = np.uint32(node.get("blocksize", 1))  # of an unsigned type in MIL, since iOS 16
    return mb.pixel_unshuffle(x=_image(node), downscale_factor=block, name=node.result)


def _image(node: OnnxNode) -> Var:
    x = node.data(0)
    if x.rank != 4:
        node.refuse(f"its input has rank {x.rank}; Core ML has it for images [N, C, H, W]")
    return x


def regrouped(node: OnnxNode, x: Var | Array, sizes: Sequence[Any], name: str) -> Var | Array:
    """`x` in the shape of `sizes`, of which one may be open; itself where that is its shape."""
    if list(x.shape) == list(sizes):
        return x
    if isinstance(x, np.ndarray):
        return x.reshape([int(size) for size in sizes])
    return _reshaped(node, x, list(sizes), name)


def _reshaped(node: OnnxNode, x: Var, target: list[Any], name: str | None = None) -> Var:
    """Emit a reshape to sizes of which one may be -1, and some may be expressions of the batch."""
    if len(target) > _HIGHEST_RANK:
        node.refuse(f"its target has {len(target)} dimensions; Core ML has {_HIGHEST_RANK}")
    volume = math.prod(map(as_size, x.shape))
    if -1 in target:
        others = math.prod(size for size in target if size != -1)
        target[target.index(-1)] = quotient(volume, others)
    if None in target or math.prod(target) != volume:
        node.refuse(f"{list(x.shape)} cannot become {target} for every number of images")
    constant = [as_size(size) if is_known(size) else -1 for size in target]
    if constant.count(-1) > 1:
        node.refuse(f"its target shape {target} leaves more than one dimension open")
    return mb.reshape(x=x, shape=constant, name=name or node.result)


def _ones(x: Var) -> list[int]:
    return [axis for axis, size in enumerate(x.shape) if size == 1]

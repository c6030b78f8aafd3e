"""Operators that repeat numbers, also once for every image of an open batch.

Where the number of images is only known when the model runs, a tensor of ones with that many rows
is made, and what is repeated is multiplied with it: times 1 no number changes, not even NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import numpy_helper

from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.operators.arithmetic import is_truth
from edgerep.export.coreml.quiet_coremltools import mb, types
from edgerep.export.coreml.sizes import as_size, is_known, quotient


def expand(node: OnnxNode) -> Var:
    """Emit what repeats each dimension of size 1 as often as the target shape says."""
    x, target = node.data(0), [as_size(size) for size in node.sizes(1)]
    shape = list(np.shape(x))
    added = len(target) - len(shape)
    if added > 0:
        x = _with_rank(x, added, f"{node.result}_expanded")
        shape = [1] * added + shape
    target = [1] * -added + target
    repeats = [1 if t in (1, s) else t for t, s in zip(target, shape, strict=True)]
    if any(count != 1 and size != 1 for count, size in zip(repeats, shape, strict=True)):
        node.refuse(f"it cannot stretch {shape} to {target}")
    return _repeated(node, x, repeats)


def tile(node: OnnxNode) -> Var:
    x = node.data(0)
    repeats = [as_size(count) for count in node.sizes(1)]
    for size, count in zip(np.shape(x), repeats, strict=True):
        if not is_known(size) and count != 1:
            node.refuse("it repeats the batch")
        if not is_known(count) and size != 1:
            node.refuse("it repeats a dimension of more than 1 for every image")
    return _repeated(node, x, repeats)


def constant_of_shape(node: OnnxNode) -> Var:
    value = node.get("value", None)
    number = np.float32(0) if value is None else numpy_helper.to_array(value).reshape(())
    constant = OnnxNode(node.operator, node.name, node.result, (number,), {}).data(0)
    return _filled(node, list(node.sizes(0)), constant, node.result)


def _repeated(node: OnnxNode, x: Var | Array, repeats: Sequence[Any]) -> Var:
    """`x` tiled by `repeats`; where one is open, the dimension has size 1."""
    known = [count if is_known(count) else 1 for count in repeats]
    is_open = known != list(repeats)
    if any(count != 1 for count in known):
        name = f"{node.result}_tiled" if is_open else node.result
        tiled = isinstance(x, np.ndarray)
        x = np.tile(x, known) if tiled else mb.tile(x=x, reps=known, name=name)
    if not is_open:
        return x
    if is_truth(x):
        node.refuse("it repeats truth values for every image; export the graph with one batch size")
    number = x.dtype.type if isinstance(x, np.ndarray) else types.nptype_from_builtin(x.dtype)
    rows = [1 if is_known(count) else count for count in repeats]
    ones = _filled(node, rows, number(1), f"{node.result}_ones")
    return mb.mul(x=x, y=ones, name=node.result)


def _filled(node: OnnxNode, sizes: Sequence[Any], value: Any, name: str) -> Var:
    """A tensor of one number, of sizes of which one may be a multiple of the number of images."""
    images = node.images()
    factors = [quotient(size, images.sym_val[0]) for size in sizes if not is_known(as_size(size))]
    known = [int(size) if is_known(as_size(size)) else -1 for size in sizes]
    if len(factors) != 1 or factors[0] is None or not is_known(factors[0]):
        node.refuse(f"its sizes {list(sizes)} are more than a multiple of the number of images")
    if factors[0] == 1:
        shape = _joined([images if size == -1 else size for size in known], f"{name}_shape")
        return mb.fill(shape=shape, value=value, name=name)
    each = int(factors[0]) * math.prod(size for size in known if size != -1)
    shape = _joined([images, each], f"{name}_shape")
    flat = mb.fill(shape=shape, value=value, name=f"{name}_flat")
    return mb.reshape(x=flat, shape=known, name=name)


def _joined(sizes: Sequence[Any], name: str) -> Var:
    parts = [np.array([size], np.int32) if isinstance(size, int) else size for size in sizes]
    return mb.concat(values=parts, axis=0, name=name) if len(parts) > 1 else parts[0]


def _with_rank(x: Var | Array, added: int, name: str) -> Var | Array:
    """`x` with `added` dimensions of size 1 in front."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(x).reshape((1,) * added + x.shape)
    return mb.expand_dims(x=x, axes=list(range(added)), name=name)

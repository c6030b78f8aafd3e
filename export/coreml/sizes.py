"""Shape arithmetic: what a graph computes from its tensors' sizes, worked out at conversion.

With a dynamic batch, exporters write `x.flatten(1)` and the reshapes of attention as nodes that
read a shape, take it apart and put it together again. Every size but the batch is known here, and
the batch only has to be carried to where it is used, as coremltools' symbol. So none of this
arithmetic is left in the program.

Sizes are arrays of Python objects: whole numbers, and expressions of the symbol. An array in which
all are known is int64, a constant like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from onnx import TensorProto

from edgerep.export.coreml.node import Array, OnnxNode

Rule: TypeAlias = Callable[[OnnxNode], Array]
_WHOLE = (TensorProto.INT64, TensorProto.INT32)


def sizes_of(node: OnnxNode) -> Array:
    """What ONNX's `Shape` gives: from `start` to `end` of the shape of a computed tensor."""
    shape = node.inputs[0].shape
    start, end = node.get("start", 0), node.get("end", len(shape))
    return _known(np.array(list(shape), dtype=object)[start:end])


def compute_sizes(node: OnnxNode) -> Array:
    """The result of a node that reads sizes and constants only.

    Raises:
        CoremlError: The node does more with the batch than to carry it.
    """
    if node.operator not in RULES:
        node.refuse(
            "it computes with the number of images, which is only known when the model runs; "
            "export the graph with one batch size"
        )
    return _known(np.asarray(RULES[node.operator](node)))


def is_symbolic(value: Any) -> bool:
    """Whether a value is an array of sizes among which not all are known."""
    return isinstance(value, np.ndarray) and value.dtype == object


def as_size(value: Any) -> Any:
    """A size as `int` where it is known, else the expression itself."""
    return int(value) if is_known(value) else value


def is_known(size: Any) -> bool:
    return isinstance(size, (int, np.integer)) or bool(getattr(size, "is_Integer", False))


def quotient(over: Any, under: Any) -> Any:
    """`over / under` as a size, for every number of images; None where it leaves a remainder."""
    over, under = as_size(over), as_size(under)
    if is_known(over) and is_known(under):
        return over // under if under and over % under == 0 else None
    divided = over / under
    return as_size(divided) if divided.as_numer_denom()[1] == 1 else None


def _known(sizes: Array) -> Array:
    """The array of sizes as int64 where all of them are known, else as objects."""
    if sizes.dtype == bool:
        return sizes
    plain = np.array([as_size(size) for size in sizes.reshape(-1)], dtype=object)
    plain = plain.reshape(sizes.shape)
    return plain.astype(np.int64) if all(isinstance(s, int) for s in plain.reshape(-1)) else plain


def _whole(node: OnnxNode, index: int) -> list[int]:
    return [int(number) for number in node.known(index).reshape(-1)]


def _cast(node: OnnxNode) -> Array:
    if node.get("to", None) not in _WHOLE:
        node.refuse("it casts the number of images to a type that is not for sizes")
    return node.sizes(0)


def _gather(node: OnnxNode) -> Array:
    return np.take(node.sizes(0), node.known(1), axis=node.get("axis", 0))


def _slice(node: OnnxNode) -> Array:
    begin, end = _whole(node, 1), _whole(node, 2)
    step = _whole(node, 4) if node.has(4) else [1] * len(begin)
    return node.sizes(0)[slice(begin[0], end[0], step[0])]  # sizes have one dimension


def _squeeze(node: OnnxNode) -> Array:
    axes = node.integers("axes", 1)
    return np.squeeze(node.sizes(0), axis=None if axes is None else tuple(axes))


def _unsqueeze(node: OnnxNode) -> Array:
    return np.expand_dims(node.sizes(0), tuple(node.integers("axes", 1) or ()))


def _concat(node: OnnxNode) -> Array:
    parts: Sequence[Array] = [node.sizes(index) for index in range(len(node.inputs))]
    return np.concatenate(parts, axis=node.get("axis", 0))


def _divide(node: OnnxNode) -> Array:
    over, under = np.broadcast_arrays(node.sizes(0), node.sizes(1))
    pairs = zip(over.reshape(-1), under.reshape(-1), strict=True)
    quotients = [quotient(a, b) for a, b in pairs]
    if None in quotients:  # ONNX rounds towards zero: no expression of the number of images
        node.refuse("it divides the number of images by a number that may leave a remainder")
    return np.array(quotients, dtype=object).reshape(over.shape)


def _equal(node: OnnxNode) -> Array:
    pairs = np.broadcast_arrays(node.sizes(0), node.sizes(1))
    answers = [_same(node, a, b) for a, b in zip(*(p.reshape(-1) for p in pairs), strict=True)]
    return np.array(answers, dtype=bool).reshape(pairs[0].shape)


def _same(node: OnnxNode, a: Any, b: Any) -> bool:
    a, b = as_size(a), as_size(b)
    if (is_known(a) and is_known(b)) or a == b:
        return bool(a == b)
    known = [size for size in (a, b) if is_known(size)]
    if not known or known[0] > 0:  # a number of images is above 0, and else anything
        node.refuse("it compares the number of images with another size")
    return False


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Add": lambda node: node.sizes(0) + node.sizes(1),
        "Cast": _cast,
        "Concat": _concat,
        "Div": _divide,
        "Equal": _equal,
        "Gather": _gather,
        "Identity": lambda node: node.sizes(0),
        "Mul": lambda node: node.sizes(0) * node.sizes(1),
        "Reshape": lambda node: node.sizes(0).reshape(_whole(node, 1)),
        "Slice": _slice,
        "Squeeze": _squeeze,
        "Sub": lambda node: node.sizes(0) - node.sizes(1),
        "Unsqueeze": _unsqueeze,
        "Where": lambda node: np.where(node.known(0).astype(bool), node.sizes(1), node.sizes(2)),
    }
)

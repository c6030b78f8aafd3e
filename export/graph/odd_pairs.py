"""Pairs of QuantizeLinear and DequantizeLinear that do not belong together."""

from __future__ import annotations

import numpy as np
import onnx

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.quantisers import quantiser, quantisers_in

# What only moves or chooses integers on their way from one to the other.
_MOVING = ("MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def odd_pairs_in(model: onnx.ModelProto) -> tuple[str, ...]:
    """Each DequantizeLinear that gives back by another scale or zero point than was rounded by.

    Args:
        model: The graph; scales and zero points that it computes are passed over.
    """
    index = GraphIndex(model.graph)
    found = []
    for one in quantisers_in(index):
        if one.is_quantize:
            continue
        maker = index.makers.get(one.node.input[0])
        while maker is not None and maker.op_type in _MOVING:
            maker = index.makers.get(maker.input[0])
        if maker is None or maker.op_type != "QuantizeLinear":
            continue
        rounded = quantiser(index, maker)
        if one.scale is None or rounded.scale is None:
            continue
        odd = [
            f"{what} {_short(other)} and not {_short(own)}"
            for what, other, own in (
                ("scale", one.scale, rounded.scale),
                ("zero point", _zero(one.zero), _zero(rounded.zero)),
            )
            if not _are_equal(other, own)
        ]
        if odd:
            found.append(f"{one.name} gives back by {' and '.join(odd)}, as {rounded.name} rounds")
    return tuple(found)


def _zero(values: Array | None) -> Array:
    return np.zeros((), np.int64) if values is None else values.astype(np.int64)


def _are_equal(one: Array, other: Array) -> bool:
    alike = one.size == other.size or min(one.size, other.size) == 1
    return alike and bool((one.reshape(-1) == other.reshape(-1)).all())


def _short(values: Array) -> str:
    flat = values.reshape(-1)
    return f"{float(flat[0]):.6g}" if flat.size == 1 else f"{float(flat[0]):.6g}, ..."

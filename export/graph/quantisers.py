"""The QuantizeLinear and DequantizeLinear of a graph: scales, zero points, types, and what is read.

Source: the ONNX operator reference, opsets 10 to 23.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import GraphIndex, settings_of

QUANTISING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, eq=False)
class Quantiser:
    """A QuantizeLinear or a DequantizeLinear.

    Attributes:
        node: Itself.
        scale: Its scale; None where the graph computes it.
        zero: Its zero point; None where there is none, or where the graph computes it.
        element: The type of the integers, as TensorProto numbers it; 0 where that is not known.
        constant: What it reads, if that is a constant: numbers to quantise, or integers.
        of_weight: Whether it reads a constant, or what a QuantizeLinear makes of one.
        axis: Along which its scales differ, as ONNX has it: 1 where it is not written.
        block: How many numbers share a scale along `axis`; 0 where all do.
    """

    node: onnx.NodeProto
    scale: Array | None
    zero: Array | None
    element: int
    constant: Array | None
    of_weight: bool
    axis: int
    block: int

    @property
    def name(self) -> str:
        return self.node.name or self.node.output[0]

    @property
    def is_quantize(self) -> bool:
        return self.node.op_type == "QuantizeLinear"

    @property
    def has_axis(self) -> bool:
        """Whether its axis is written."""
        return any(attribute.name == "axis" for attribute in self.node.attribute)

    @property
    def type_name(self) -> str:
        return TensorProto.DataType.Name(self.element).lower() if self.element else "unknown type"

    @property
    def zero_given(self) -> bool:
        return len(self.node.input) > 2 and bool(self.node.input[2])


def quantisers_in(index: GraphIndex) -> Iterator[Quantiser]:
    """Every one of a graph, in order."""
    for node in index.graph.node:
        if node.op_type in QUANTISING and node.domain in ("", "ai.onnx"):
            yield quantiser(index, node)


def quantiser(index: GraphIndex, node: onnx.NodeProto) -> Quantiser:
    """What a node says that is one of `QUANTISING`."""
    attributes = settings_of(node)
    constant = _stored(index, node.input[0])
    rounded = index.maker(node.input[0], "QuantizeLinear")
    has_zero = len(node.input) > 2 and bool(node.input[2])
    return Quantiser(
        node=node,
        scale=_stored(index, node.input[1]),
        zero=_stored(index, node.input[2]) if has_zero else None,
        element=_element(index, node, int(attributes.get("output_dtype", 0))),
        constant=constant,
        of_weight=constant is not None
        or (rounded is not None and _stored(index, rounded.input[0]) is not None),
        axis=int(attributes.get("axis", 1)),
        block=int(attributes.get("block_size", 0)),
    )


def _stored(index: GraphIndex, name: str) -> Array | None:
    """A constant, also behind an Identity, as exporters share one between nodes."""
    while (node := index.maker(name, "Identity")) is not None:
        name = node.input[0]
    return index.constant(name)


def _element(index: GraphIndex, node: onnx.NodeProto, output: int) -> int:
    for name in node.input[2:3]:
        found = _stored_element(index, name)
        if found:
            return found
    if node.op_type == "QuantizeLinear":
        return output or TensorProto.UINT8  # as ONNX has it where nothing says another
    found = _stored_element(index, node.input[0])
    if found:
        return found
    maker = index.maker(node.input[0], "QuantizeLinear")
    return 0 if maker is None else quantiser(index, maker).element


def _stored_element(index: GraphIndex, name: str) -> int:
    while (node := index.maker(name, "Identity")) is not None:
        name = node.input[0]
    if name in index.initializers:
        return int(index.initializers[name].data_type)
    value = index.constant(name)
    return 0 if value is None else int(helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype)))

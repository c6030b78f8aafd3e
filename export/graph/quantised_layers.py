"""The layers of a Q/DQ graph: in which integers, and on which scales, each computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.quantisers import Quantiser, quantiser

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_TURNING = ("Transpose", "Identity")  # what may stand between a weight and its layer


@dataclass(frozen=True, slots=True)
class Scales:
    """How one tensor is quantised.

    Attributes:
        type: Of the integers, "int8".
        count: How many scales there are: 1 for all, or one a channel.
        smallest: Of the scales; None where the graph computes them.
        largest: Likewise.
        symmetric: Whether every zero point is 0.
    """

    type: str
    count: int
    smallest: float | None
    largest: float | None
    symmetric: bool


@dataclass(frozen=True, slots=True)
class QuantisedLayer:
    """One layer with constant weights.

    Attributes:
        name: Of its weights, without the word "weight"; that of its node where they have none.
        operator: "Conv", "ConvTranspose", "Gemm" or "MatMul".
        input: How what it reads is quantised; None where it is not.
        weights: How its weights are; None where they are floating point.
        bias: The type of its biases as they are stored: "float32", "int32", ...; None without.
    """

    name: str
    operator: str
    input: Scales | None
    weights: Scales | None
    bias: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def quantised_layers(model: onnx.ModelProto) -> tuple[QuantisedLayer, ...]:
    """Every layer of a graph whose weights are constants, in order; those in float too."""
    index = GraphIndex(model.graph)
    found = []
    for node in model.graph.node:
        if node.op_type not in _LAYERS or len(node.input) < 2:
            continue
        weights = _dequantiser(index, node.input[1])
        stored = node.input[1] if weights is None else _stored_name(index, weights)
        if weights is None and index.constant(stored) is None:
            continue
        read = _dequantiser(index, node.input[0])
        stem = stored.removesuffix("weight").rstrip("._/") if stored.endswith("weight") else ""
        found.append(
            QuantisedLayer(
                name=stem or node.name or node.output[0],
                operator=node.op_type,
                input=None if read is None or read.of_weight else _scales(read),
                weights=None if weights is None else _scales(weights),
                bias=_bias(index, node),
            )
        )
    return tuple(found)


def quantisation_in(model: onnx.ModelProto, noted: Any) -> list[dict[str, Any]]:
    """The JSON of `quantised_layers`, with what a graph notes of each; empty for a float graph.

    Args:
        model: The graph.
        noted: `options["int8"]` of the graph; None where it has none.
    """
    layers = quantised_layers(model)
    if not any(layer.weights or layer.input for layer in layers):
        return []
    told = noted.get("layers") if isinstance(noted, Mapping) else None
    figures = {
        one["name"]: one["sqnr_db"]
        for one in told or ()
        if isinstance(one, Mapping) and {"name", "sqnr_db"} <= one.keys()
    }
    return [{**layer.to_json(), "sqnr_db": figures.get(layer.name)} for layer in layers]


def _dequantiser(index: GraphIndex, name: str) -> Quantiser | None:
    node = index.makers.get(name)
    while node is not None and node.op_type in _TURNING:
        node = index.makers.get(node.input[0])
    return None if node is None or node.op_type != "DequantizeLinear" else quantiser(index, node)


def _stored_name(index: GraphIndex, one: Quantiser) -> str:
    rounded = index.maker(one.node.input[0], "QuantizeLinear")
    return one.node.input[0] if rounded is None else rounded.input[0]


def _scales(one: Quantiser) -> Scales:
    scale = None if one.scale is None else one.scale.astype(np.float64)
    return Scales(
        type=one.type_name,
        count=0 if scale is None else int(scale.size),
        smallest=None if scale is None or not scale.size else float(scale.min()),
        largest=None if scale is None or not scale.size else float(scale.max()),
        symmetric=not one.zero_given or (one.zero is not None and not one.zero.any()),
    )


def _bias(index: GraphIndex, node: onnx.NodeProto) -> str | None:
    if len(node.input) < 3 or not node.input[2]:
        return None
    one = _dequantiser(index, node.input[2])
    if one is not None:
        return one.type_name
    value = index.constant(node.input[2])
    return "computed" if value is None else str(value.dtype)

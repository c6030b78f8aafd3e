"""The kinds of fault that are planted in a Q/DQ graph."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from faults.graph_reach import NoPlaceError, one_of
from numpy.typing import NDArray
from onnx import numpy_helper

from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.quantisers import Quantiser, quantisers_in

Array = NDArray[Any]
Plant = Callable[[onnx.ModelProto, np.random.Generator], None]


def _weights(model: onnx.ModelProto) -> list[Quantiser]:
    """What dequantises the weights of each layer, with a scale a channel."""
    found = quantisers_in(GraphIndex(model.graph))
    return [
        one for one in found
        if not one.is_quantize and one.of_weight and one.scale is not None and one.scale.size > 1
        and one.constant is not None and one.constant.dtype == np.int8
    ]  # fmt: skip


def _activations(model: onnx.ModelProto) -> list[Quantiser]:
    found = quantisers_in(GraphIndex(model.graph))
    return [one for one in found if one.is_quantize and not one.of_weight]


def _dequantiser(model: onnx.ModelProto, of: Quantiser) -> onnx.NodeProto:
    reads = (node for node in model.graph.node if of.node.output[0] in node.input)
    found = [node for node in reads if node.op_type == "DequantizeLinear"]
    if not found:
        raise NoPlaceError
    return found[0]


def _give(model: onnx.ModelProto, node: onnx.NodeProto, at: int, values: Array) -> None:
    """Give a node another constant, of its own."""
    old = GraphIndex(model.graph).constant(node.input[at])
    if old is not None and old.shape == values.shape and np.array_equal(old, values):
        raise NoPlaceError
    name = f"planted_{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    node.input[at] = name


def scale_of_one_channel(factor: float) -> Plant:
    def plant(model: onnx.ModelProto, rng: np.random.Generator) -> None:
        one = one_of([w for w in _weights(model) if _alive(w).any()], rng)
        assert one.scale is not None
        scale = one.scale.copy()
        scale[int(rng.choice(np.flatnonzero(_alive(one))))] *= np.float32(factor)
        _give(model, one.node, 1, scale)

    return plant


def scale_of_the_neighbour(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """One channel has the scale of the next, where the two differ by 10 % and more."""
    one = one_of(_weights(model), rng)
    assert one.scale is not None
    far = np.abs(np.log(one.scale[1:] / one.scale[:-1])) > 0.1
    at = int(one_of(list(np.flatnonzero(far & _alive(one)[:-1])), rng))
    scale = one.scale.copy()
    scale[at] = scale[at + 1]
    _give(model, one.node, 1, scale)


def scales_of_all_channels(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    one = one_of(_weights(model), rng)
    assert one.scale is not None
    _give(model, one.node, 1, (one.scale * np.float32(1.1)).astype(np.float32))


def zero_point_of_weights(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    one = one_of(_weights(model), rng)
    assert one.zero is not None
    zero = one.zero.copy()
    zero[int(rng.integers(len(zero)))] = 5
    _give(model, one.node, 2, zero)


def weights_of_another_layer(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    weights = _weights(model)
    pairs = [
        (a, b) for a in weights for b in weights
        if a is not b and a.constant is not None and b.constant is not None
        and a.constant.shape == b.constant.shape
    ]  # fmt: skip
    one, other = one_of(pairs, rng)
    assert other.constant is not None
    _give(model, one.node, 0, other.constant)


def two_channels_exchanged(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    one = one_of([w for w in _weights(model) if _alive(w).sum() > 1], rng)
    assert one.constant is not None
    first, second = rng.choice(np.flatnonzero(_alive(one)), 2, replace=False)
    levels = np.moveaxis(one.constant.copy(), one.axis, 0)
    if np.abs(levels[first].astype(int) - levels[second]).max() < 10:
        raise NoPlaceError  # as of an average pool that became a layer: all of its channels are one
    levels[[first, second]] = levels[[second, first]]
    _give(model, one.node, 0, np.moveaxis(levels, 0, one.axis))


def scale_of_a_dequantiser(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    one = one_of(_activations(model), rng)
    assert one.scale is not None
    _give(model, _dequantiser(model, one), 1, np.asarray(one.scale * np.float32(1.1), np.float32))


def zero_point_of_a_dequantiser(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    one = one_of(_activations(model), rng)
    _give(model, _dequantiser(model, one), 2, np.array(6, np.int8))


def range_of_an_activation(factor: float) -> Plant:
    """Both of a pair have another scale."""

    def plant(model: onnx.ModelProto, rng: np.random.Generator) -> None:
        one = one_of(_activations(model), rng)
        assert one.scale is not None
        scale = np.asarray(one.scale * np.float32(factor), np.float32)
        for node in (one.node, _dequantiser(model, one)):
            _give(model, node, 1, scale)

    return plant


def pair_dropped(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    one = one_of(_activations(model), rng)
    reader = _dequantiser(model, one)
    gone, instead = reader.output[0], one.node.input[0]
    model.graph.node.remove(reader)
    model.graph.node.remove(one.node)
    for node in model.graph.node:
        node.input[:] = [instead if name == gone else name for name in node.input]


def one_weight(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    one = one_of(_weights(model), rng)
    assert one.constant is not None
    levels = one.constant.copy()
    places = np.argwhere(np.abs(levels.astype(int)) > 20)
    at = tuple(one_of(list(places), rng))
    levels[at] //= 2
    _give(model, one.node, 0, levels)


def _alive(one: Quantiser) -> NDArray[np.bool_]:
    assert one.constant is not None
    levels = np.moveaxis(one.constant, one.axis, 0)
    result: NDArray[np.bool_] = np.abs(levels.reshape(len(levels), -1)).max(1) > 20
    return result


# Beside the graph that a file should be, and beside the float network: what no graph has to tell.
BESIDE_FLOAT = MappingProxyType(
    {
        "scale of one channel, 10 % more": scale_of_one_channel(1.1),
        "scale of one channel, 20 % less": scale_of_one_channel(0.8),
        "scale of the neighbouring channel": scale_of_the_neighbour,
        "scales of all channels of a layer": scales_of_all_channels,
        "zero point of weights": zero_point_of_weights,
        "int8 weights of another layer": weights_of_another_layer,
        "two output channels exchanged": two_channels_exchanged,
        "scale of a dequantiser alone": scale_of_a_dequantiser,
        "zero point of a dequantiser alone": zero_point_of_a_dequantiser,
        "range of an activation, 40 times more": range_of_an_activation(40.0),
        "range of an activation, a tenth": range_of_an_activation(0.1),
    }
)
BESIDE_THE_GRAPH = MappingProxyType(
    {
        **BESIDE_FLOAT,
        "range of an activation, 2 % more": range_of_an_activation(1.02),
        "scale of one channel, 1 % more": scale_of_one_channel(1.01),
        "Q/DQ pair dropped": pair_dropped,
        "one weight halved": one_weight,
    }
)


def planted(model: onnx.ModelProto, plant: Plant, seed: int) -> onnx.ModelProto:
    """A copy with one fault.

    Raises:
        NoPlaceError: There is no place for it.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    plant(made, np.random.default_rng(seed))
    return made

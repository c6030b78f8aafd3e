"""Faults in the weights of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from faults.graph_reach import (
    Array,
    Generator,
    GraphFault,
    NoPlaceError,
    array_of,
    biases_of,
    nodes_of,
    one_of,
    put,
    tensors_in,
    weights_of,
)


def on_weight(
    change: Callable[[Array, Generator], Array], *operators: str, taps: int = 1
) -> GraphFault:
    def plant(model: onnx.ModelProto, rng: Generator) -> None:
        name = one_of(weights_of(model, *operators, taps=taps), rng)
        put(model, name, change(array_of(model, name), rng))

    return plant


def on_bias(change: Callable[[Array, Generator], Array]) -> GraphFault:
    def plant(model: onnx.ModelProto, rng: Generator) -> None:
        name = one_of(biases_of(model), rng)
        put(model, name, change(array_of(model, name), rng))

    return plant


def swapped(array: Array, axis: int, rng: Generator) -> Array:
    if array.ndim <= axis or array.shape[axis] < 2:
        raise NoPlaceError
    first, second = rng.choice(array.shape[axis], 2, replace=False)
    order = np.arange(array.shape[axis])
    order[[first, second]] = order[[second, first]]
    return np.take(array, order, axis)


def _channel(array: Array, rng: Generator, change: Callable[[Array], Array]) -> Array:
    index = int(rng.integers(len(array)))
    array[index] = change(array[index])
    return array


def _largest(array: Array, factor: float) -> Array:
    place = np.unravel_index(np.abs(array).argmax(), array.shape)
    array[place] *= factor
    return array


def _any_weight(array: Array, rng: Generator) -> Array:
    place = tuple(int(rng.integers(side)) for side in array.shape)
    array[place] += 3 * array.std()
    return array


def _half_zero(array: Array, rng: Generator) -> Array:
    flat = array.reshape(-1)
    flat[flat.size // 2 :] = 0
    return flat.reshape(array.shape)


def _quantised(array: Array, rng: Generator, bits: int = 6) -> Array:
    step = np.abs(array).max() / (2 ** (bits - 1) - 1)
    result: Array = np.round(array / step) * step
    return result


def _bfloat16(array: Array, rng: Generator) -> Array:
    bits = array.astype(np.float32).view(np.uint32)
    result: Array = ((bits + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return result.reshape(array.shape)


def two_weights_exchanged(model: onnx.ModelProto, rng: Generator) -> None:
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name in dict.fromkeys(weights_of(model)):
        by_shape.setdefault(array_of(model, name).shape, []).append(name)
    names = one_of([names for names in by_shape.values() if len(names) > 1], rng)
    first, second = rng.choice(len(names), 2, replace=False)
    one, other = array_of(model, names[first]), array_of(model, names[second])
    put(model, names[first], other)
    put(model, names[second], one)


def overflow_on_the_way(model: onnx.ModelProto, rng: Generator) -> None:
    """One layer's weights times 1e4, the next one's 1e-4: infinity on the way, in float16."""
    pairs = [
        (a, b)
        for a in nodes_of(model, "Conv")
        for relu in nodes_of(model, "Relu")
        for b in nodes_of(model, "Conv")
        if relu.input[0] == a.output[0] and b.input[0] == relu.output[0]
        and a.input[1] in tensors_in(model) and b.input[1] in tensors_in(model)
    ]  # fmt: skip
    first, second = one_of(pairs, rng)
    for node, factor in ((first, 1e4), (second, 1e-4)):
        put(model, node.input[1], array_of(model, node.input[1]) * factor)
    if len(first.input) > 2:
        put(model, first.input[2], array_of(model, first.input[2]) * 1e4)


def input_channels_reversed(model: onnx.ModelProto, rng: Generator) -> None:
    names = [n for n in weights_of(model, "Conv") if array_of(model, n).shape[1] == 3]
    if not names:
        raise NoPlaceError
    put(model, names[0], array_of(model, names[0])[:, ::-1])

"""Q/DQ rewritten so that TensorRT's parsers take it, where that changes no number.

What TensorRT reads otherwise than ONNX or refuses, and what says the same: a bias of int32 is the
numbers that it stands for; uint8 around 128 is int8 around 0; float weights behind a QuantizeLinear
are its integers. What has no equal in int8 around 0 stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.affine import dequantize_array, quantize_array
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.quantisers import Quantiser, quantiser, quantisers_in

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "bias": "int32 constants dequantised into the numbers that they stand for",
        "number": "single numbers, without a dimension, dequantised",
        "uint8": "uint8 around 128 written as int8 around 0",
        "shifted": "constants around another integer written around 0, which they fit",
        "weights": "float weights rounded to the integers that their QuantizeLinear makes of them",
        "zero": "zero points of 0 written out",
        "axis": "axes written out, which ONNX takes for 1 and TensorRT for 0",
        "channels": "equal scales of all channels of an activation written as one",
        "scale": "scales of channels that are 0 throughout set to 1",
    }
)


@dataclass(frozen=True, eq=False)
class Repaired:
    """A model rewritten.

    Attributes:
        model: A copy; the model itself where nothing was to be done.
        done: What was done, in words, each with its number of nodes.
    """

    model: onnx.ModelProto
    done: tuple[str, ...]


def repair_exactly(model: onnx.ModelProto) -> Repaired:
    """Rewrite what can be said in int8 around 0, one scale an activation, all of it written out.

    Args:
        model: Stays as it is.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    done: Counter[str] = Counter()
    for step in (_store_weights, _dequantise_int32, _dequantise_numbers, _shift_uint8, _complete):
        graph = made.graph
        step(graph, GraphIndex(graph), done)
        _drop_unread(graph)
    if not done:
        return Repaired(model, ())
    return Repaired(
        made, tuple(f"{words} ({done[kind]})" for kind, words in _WORDS.items() if done[kind])
    )


def _store_weights(graph: onnx.GraphProto, index: GraphIndex, done: Counter[str]) -> None:
    for one in list(quantisers_in(index)):  # nodes go meanwhile
        kind = _KINDS.get(one.element)
        plain = one.is_quantize and one.scale is not None and not one.block and kind is not None
        if not plain or one.constant is None or one.scale is None or kind is None:
            continue
        if one.zero is None and one.zero_given:
            continue
        zero = np.zeros(one.scale.shape, kind) if one.zero is None else one.zero
        levels = quantize_array(one.constant, one.scale, zero, one.axis)
        _replace(graph, index, one.node, levels)
        done["weights"] += 1


def _dequantise_int32(graph: onnx.GraphProto, index: GraphIndex, done: Counter[str]) -> None:
    for one in list(quantisers_in(index)):  # nodes go meanwhile
        if one.is_quantize or one.element != TensorProto.INT32 or one.constant is None:
            continue
        if one.scale is None or (one.zero is not None and one.zero.any()):
            continue
        _replace(graph, index, one.node, dequantize_array(one.constant, one.scale, None, one.axis))
        done["bias"] += 1


def _dequantise_numbers(graph: onnx.GraphProto, index: GraphIndex, done: Counter[str]) -> None:
    """Single numbers that stand in eight bits, such as the factor of a product."""
    for one in list(quantisers_in(index)):  # nodes go meanwhile
        if one.is_quantize or one.constant is None or one.constant.ndim or one.scale is None:
            continue
        if (
            one.element not in _KINDS
            or one.scale.size != 1
            or (one.zero_given and one.zero is None)
        ):
            continue
        scale, zero = one.scale.reshape(()), None if one.zero is None else one.zero.reshape(())
        _replace(graph, index, one.node, dequantize_array(one.constant, scale, zero))
        done["number"] += 1


def _shift_uint8(graph: onnx.GraphProto, index: GraphIndex, done: Counter[str]) -> None:
    """Every uint8 tensor around 128 that only DequantizeLinear around 128 reads."""
    for name in dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output)):
        maker = index.maker(name, "QuantizeLinear")
        stored = index.constant(name)
        if (maker is None and stored is None) or name in index.outputs:
            continue
        readers = index.readers(name)
        both = ([] if maker is None else [maker]) + list(readers)
        if not readers or any(node.op_type != "DequantizeLinear" for node in readers):
            continue
        ends = [quantiser(index, node) for node in both]
        if any(node.input[0] != name for node in readers) or not all(map(_is_around_128, ends)):
            continue
        if maker is None and stored is not None:
            if stored.dtype != np.uint8:
                continue
            levels = (stored.astype(np.int16) - 128).astype(np.int8)
            new = _add(graph, f"{name}_int8", levels)
            for node in readers:
                node.input[0] = new
        for one in ends:
            zero = np.zeros_like(one.zero, np.int8)
            one.node.input[2] = _add(graph, f"{one.node.input[2]}_{one.name}_int8", zero)
        done["uint8"] += len(ends)


def _is_around_128(one: Quantiser) -> bool:
    return one.zero is not None and one.zero.dtype == np.uint8 and bool((one.zero == 128).all())


def _complete(graph: onnx.GraphProto, index: GraphIndex, done: Counter[str]) -> None:
    """Write out zero points and axes, make one of equal scales, and none 0."""
    for one in list(quantisers_in(index)):
        scale, kind = one.scale, _KINDS.get(one.element)
        if scale is None or one.block or kind is None:
            continue
        zero = one.zero
        if not one.zero_given and kind == np.int8:
            zero = np.zeros(scale.shape, np.int8)
            del one.node.input[2:]
            one.node.input.append(_add(graph, f"{one.name}_zero", zero))
            done["zero"] += 1
        if zero is None or scale.ndim > 1:
            continue
        if (levels := _around_0(one, zero)) is not None:
            zero = np.zeros(zero.shape, np.int8)
            one.node.input[0] = _add(graph, f"{one.name}_levels", levels)
            one.node.input[2] = _add(graph, f"{one.name}_zero", zero)
            one = quantiser(GraphIndex(graph), one.node)
            done["shifted"] += 1
        if scale.size > 1 and one.constant is None and _are_equal(scale) and _are_equal(zero):
            one.node.input[1] = _add(graph, f"{one.name}_scale", scale.reshape(-1)[0])
            one.node.input[2] = _add(graph, f"{one.name}_zero", zero.reshape(-1)[0])
            _drop_axis(one.node)
            done["channels"] += 1
            continue
        if one.constant is not None and not one.is_quantize and (scale <= 0).any():
            dead = _dead(one.constant, scale, zero, one.axis)
            if (dead | (scale > 0)).all():
                one.node.input[1] = _add(
                    graph, f"{one.name}_scale", np.where(scale > 0, scale, 1).astype(scale.dtype)
                )
                done["scale"] += 1
        if scale.size > 1 and not one.has_axis:
            one.node.attribute.append(helper.make_attribute("axis", 1))
            done["axis"] += 1


def _around_0(one: Quantiser, zero: Array) -> Array | None:
    """The integers of a constant less its zero point, if that is not 0 and they fit int8."""
    if (
        one.constant is None
        or one.is_quantize
        or (one.constant.dtype == np.int8 and not zero.any())
    ):
        return None
    levels = one.constant.astype(np.int16) - _beside(
        zero.astype(np.int16), one.constant.ndim, one.axis
    )
    fits = levels.min(initial=0) >= -128 and levels.max(initial=0) <= 127
    return levels.astype(np.int8) if fits else None


def _dead(levels: Array, scale: Array, zero: Array, axis: int) -> Array:
    """Which channels stand for 0 throughout, in the shape of `scale`."""
    away = levels.astype(np.int32) != _beside(zero.astype(np.int32), levels.ndim, axis)
    if scale.size == 1:
        result: Array = ~away.any(keepdims=True).reshape(scale.shape)
        return result
    others = tuple(at for at in range(levels.ndim) if at != axis % levels.ndim)
    result = ~away.any(axis=others)
    return result


def _beside(values: Array, rank: int, axis: int) -> Array:
    return (
        values.reshape(())
        if values.size == 1
        else values.reshape([-1 if at == axis % rank else 1 for at in range(rank)])
    )


def _are_equal(values: Array) -> bool:
    return bool((values == values.reshape(-1)[0]).all())


def _drop_axis(node: onnx.NodeProto) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != "axis"]
    del node.attribute[:]
    node.attribute.extend(kept)


def _replace(graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, made: Array) -> None:
    """Put a constant in the place of a node that makes it."""
    name = node.output[0]
    graph.node.remove(node)
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(made), name))


def _add(graph: onnx.GraphProto, name: str, values: Any) -> str:
    """Store a constant under a name that nothing else has."""
    taken = {tensor.name for tensor in graph.initializer}
    taken.update(out for node in graph.node for out in node.output)
    unique, count = name, 1
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    graph.initializer.append(numpy_helper.from_array(np.asarray(values), unique))
    return unique


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Drop constants, stored or made by a `Constant`, that nothing reads any more."""
    index = GraphIndex(graph)
    for node in [n for n in graph.node if n.op_type == "Constant" and not index.reads[n.output[0]]]:
        graph.node.remove(node)
    gone = {tensor.name for tensor in graph.initializer if not index.reads[tensor.name]}
    kept = [tensor for tensor in graph.initializer if tensor.name not in gone]
    listed = [value for value in graph.input if value.name not in gone]
    del graph.initializer[:], graph.input[:]
    graph.initializer.extend(kept)
    graph.input.extend(listed)


_KINDS: Mapping[int, Any] = {TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}

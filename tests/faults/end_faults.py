"""Faults at the ends of an ONNX graph: its input, its outputs, its batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from faults.graph_reach import (
    Generator,
    NoPlaceError,
    array_of,
    attribute_of,
    nodes_of,
    one_of,
    put,
    tensors_in,
    weights_of,
)
from faults.weight_faults import swapped
from onnx import helper, numpy_helper


def _pixels(model: onnx.ModelProto) -> list[str]:
    """Small float constants before the first layer: mean and scale."""
    found: list[str] = []
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            # The scale is in the first layer's weights, where it is exact.
            return found
        known = [n for n in node.input if n in tensors_in(model)]
        found += [n for n in known if 0 < array_of(model, n).size <= 3]
    return found


def mean_off(model: onnx.ModelProto, rng: Generator) -> None:
    name = one_of([n for n in _pixels(model) if array_of(model, n).dtype.kind == "f"], rng)
    put(model, name, array_of(model, name) * 1.05)


def mean_of_another_order(model: onnx.ModelProto, rng: Generator) -> None:
    names = [n for n in _pixels(model) if array_of(model, n).size == 3]
    name = one_of(names, rng)
    put(model, name, np.roll(array_of(model, name), 1).reshape(array_of(model, name).shape))


def pixels_scaled(model: onnx.ModelProto, rng: Generator) -> None:
    """As though pixels were 0 to 1 already, or 0 to 256."""
    name = one_of(weights_of(model, "Conv")[:1], rng)
    put(model, name, array_of(model, name) * (255 / 256))


def _behind(model: onnx.ModelProto, operator: str, **attributes: Any) -> onnx.NodeProto:
    """A node put behind the first output."""
    name = model.graph.output[0].name
    for node in model.graph.node:
        for index, output in enumerate(node.output):
            if output == name:
                node.output[index] = f"{name}_before"
        for index, source in enumerate(node.input):
            if source == name:
                node.input[index] = f"{name}_before"
    added = helper.make_node(operator, [f"{name}_before"], [name], name="planted", **attributes)
    model.graph.node.append(added)
    return model.graph.node[-1]


def first_sample_for_all(model: onnx.ModelProto, rng: Generator) -> None:
    """The batch was baked in as 1: every row is that of the first image."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    node = _behind(model, "Gather", axis=0)
    node.input.append("first")
    node.output[0], before = f"{node.input[0]}_first", node.output[0]
    zero = helper.make_node("Sub", [node.input[0]] * 2, ["nothing"])
    added = helper.make_node("Add", ["nothing", node.output[0]], [before])
    model.graph.node.extend([zero, added])


def samples_reversed(model: onnx.ModelProto, rng: Generator) -> None:
    node = _behind(model, "Slice")
    for name, value in (("start", -1), ("end", -(2**31)), ("axis", 0), ("step", -1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
        node.input.append(name)


def samples_mixed(model: onnx.ModelProto, rng: Generator) -> None:
    """A little of the batch's mean in every row."""
    node = _behind(model, "ReduceMean", keepdims=1)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch_axis"))
    node.input.append("batch_axis")
    before, node.output[0] = node.output[0], "batch_mean"
    model.graph.node.append(helper.make_node("Add", [node.input[0], "batch_mean"], [before]))


def outputs_exchanged(model: onnx.ModelProto, rng: Generator) -> None:
    if len(model.graph.output) != 2:
        raise NoPlaceError
    first, second = (onnx.ValueInfoProto() for _ in range(2))
    first.CopyFrom(model.graph.output[1])
    second.CopyFrom(model.graph.output[0])
    model.graph.output[0].CopyFrom(first)
    model.graph.output[1].CopyFrom(second)


def values_of_outputs_exchanged(model: onnx.ModelProto, rng: Generator) -> None:
    if len(model.graph.output) != 2:
        raise NoPlaceError
    one, other = (value.name for value in model.graph.output)
    for node in model.graph.node:
        node.output[:] = [{one: other, other: one}.get(name, name) for name in node.output]
        node.input[:] = [{one: other, other: one}.get(name, name) for name in node.input]


def output_renamed(model: onnx.ModelProto, rng: Generator) -> None:
    _behind(model, "Identity")
    model.graph.node[-1].output[0] = "renamed"
    model.graph.output[0].name = "renamed"


def classes_swapped(model: onnx.ModelProto, rng: Generator) -> None:
    """Two rows of the last layer, its weights and its bias."""
    node = nodes_of(model, "Conv", "Gemm")[-1:] or one_of([], rng)
    weight, *bias = [n for n in node[0].input[1:] if n in tensors_in(model)]
    axis = 0 if node[0].op_type == "Conv" or attribute_of(node[0], "transB", 0) else 1
    state = rng.bit_generator.state
    put(model, weight, swapped(array_of(model, weight), axis, rng))
    for name in bias:
        rng.bit_generator.state = state
        put(model, name, swapped(array_of(model, name), 0, rng))

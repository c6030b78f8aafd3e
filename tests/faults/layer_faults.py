"""Faults in the layers of an ONNX graph: what they do, and in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from faults.graph_reach import (
    Generator,
    GraphFault,
    NoPlaceError,
    array_of,
    attribute_of,
    bypass,
    nodes_of,
    one_of,
    put,
    set_attribute,
    tensors_in,
)
from onnx import helper, numpy_helper


def replaced(old: str, new: str, **attributes: Any) -> GraphFault:
    def plant(model: onnx.ModelProto, rng: Generator) -> None:
        node = one_of(nodes_of(model, old), rng)
        node.op_type = new
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        del node.input[1:]

    return plant


def pads_shifted(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of([n for n in nodes_of(model, "Conv") if any(attribute_of(n, "pads", []))], rng)
    top, left, bottom, right = attribute_of(node, "pads")
    set_attribute(node, "pads", [top + bottom, left + right, 0, 0])


def pads_of_one_side_moved(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of([n for n in nodes_of(model, "Conv") if any(attribute_of(n, "pads", []))], rng)
    top, left, bottom, right = attribute_of(node, "pads")
    set_attribute(node, "pads", [top, 0, bottom, left + right])


def dilated(model: onnx.ModelProto, rng: Generator) -> None:
    chosen = [
        n for n in nodes_of(model, "Conv") if list(attribute_of(n, "pads", [])) == [1] * 4
        and list(attribute_of(n, "dilations", [1, 1])) == [1, 1]
    ]  # fmt: skip
    node = one_of(chosen, rng)
    set_attribute(node, "dilations", [2, 2])
    set_attribute(node, "pads", [2, 2, 2, 2])


def dilation_lost(model: onnx.ModelProto, rng: Generator) -> None:
    chosen = [n for n in nodes_of(model, "Conv") if max(attribute_of(n, "dilations", [1])) == 2]
    node = one_of(chosen, rng)
    set_attribute(node, "dilations", [1, 1])
    set_attribute(node, "pads", [1, 1, 1, 1])


def stride_lost(model: onnx.ModelProto, rng: Generator) -> None:
    chosen = [n for n in nodes_of(model, "Conv") if max(attribute_of(n, "strides", [1])) > 1]
    set_attribute(one_of(chosen, rng), "strides", [1, 1])


def groups_in_another_order(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of([n for n in nodes_of(model, "Conv") if attribute_of(n, "group", 1) > 1], rng)
    weight, groups = array_of(model, node.input[1]), attribute_of(node, "group")
    put(model, node.input[1], np.roll(weight, len(weight) // groups, 0))


def layer_skipped(model: onnx.ModelProto, rng: Generator) -> None:
    chosen = []
    for node in nodes_of(model, "Conv", "Gemm", "MatMul"):
        weight = array_of(model, node.input[1]) if node.input[1] in tensors_in(model) else None
        same = weight is not None and weight.shape[0] == weight.shape[1]
        if same and max(attribute_of(node, "strides", [1])) == 1:
            chosen.append(node)
    node = one_of(chosen, rng)
    bypass(model, node, node.input[0])


def layer_run_twice(model: onnx.ModelProto, rng: Generator) -> None:
    chosen = [
        n for n in nodes_of(model, "Conv") if n.input[1] in tensors_in(model)
        and array_of(model, n.input[1]).shape[0] == array_of(model, n.input[1]).shape[1]
        and max(attribute_of(n, "strides", [1])) == 1
    ]  # fmt: skip
    node = one_of(chosen, rng)
    again = onnx.NodeProto()
    again.CopyFrom(node)
    again.name, again.input[0], again.output[0] = "again", f"{node.output[0]}_once", node.output[0]
    node.output[0] = again.input[0]
    model.graph.node.insert(list(model.graph.node).index(node) + 1, again)


def residual_dropped(model: onnx.ModelProto, rng: Generator) -> None:
    known = tensors_in(model)
    node = one_of([n for n in nodes_of(model, "Add") if not set(n.input) & set(known)], rng)
    bypass(model, node, node.input[int(rng.integers(2))])


def residual_subtracted(model: onnx.ModelProto, rng: Generator) -> None:
    known = tensors_in(model)
    one_of(
        [n for n in nodes_of(model, "Add") if not set(n.input) & set(known)], rng
    ).op_type = "Sub"


def activation_dropped(model: onnx.ModelProto, rng: Generator) -> None:
    kinds = ("Relu", "HardSwish", "LeakyRelu", "Sigmoid", "Gelu")
    node = one_of(nodes_of(model, *kinds), rng)
    bypass(model, node, node.input[0])


def activation_doubled_slope(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of(nodes_of(model, "LeakyRelu"), rng)
    set_attribute(node, "alpha", 2 * float(attribute_of(node, "alpha", 0.01)))


def clipped_at_six(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of(nodes_of(model, "Relu"), rng)
    kind = np.float16 if _is_half(model) else np.float32
    for name, value in (("clip_low", 0.0), ("clip_high", 1.0)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, kind), name))
    node.op_type = "Clip"
    node.input.extend(["clip_low", "clip_high"])


def _is_half(model: onnx.ModelProto) -> bool:
    return any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)


def pool_exchanged(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of(nodes_of(model, "MaxPool", "AveragePool", "GlobalAveragePool"), rng)
    new = {"MaxPool": "AveragePool", "AveragePool": "MaxPool"}.get(node.op_type, "GlobalMaxPool")
    kept = [a for a in node.attribute if a.name in ("kernel_shape", "strides", "pads")]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.op_type = new


def mean_by_largest(model: onnx.ModelProto, rng: Generator) -> None:
    one_of(nodes_of(model, "ReduceMean"), rng).op_type = "ReduceMax"


def padding_counted_or_not(model: onnx.ModelProto, rng: Generator) -> None:
    chosen = [n for n in nodes_of(model, "AveragePool") if any(attribute_of(n, "pads", []))]
    node = one_of(chosen, rng)
    set_attribute(node, "count_include_pad", 1 - int(attribute_of(node, "count_include_pad", 0)))


def softmax_over_another_axis(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of(nodes_of(model, "Softmax"), rng)
    set_attribute(
        node, "axis", {1: 2, -1: 1, 2: 1, 3: 1}.get(int(attribute_of(node, "axis", -1)), 1)
    )


def concat_in_another_order(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of([n for n in nodes_of(model, "Concat") if len(n.input) == 2], rng)
    if set(node.input) & set(tensors_in(model)):
        raise NoPlaceError
    node.input[:] = node.input[::-1]


def resized_otherwise(name: str, old: str, new: str, mode: str) -> GraphFault:
    def plant(model: onnx.ModelProto, rng: Generator) -> None:
        chosen = [
            n for n in nodes_of(model, "Resize")
            if attribute_of(n, "mode", b"nearest") == mode.encode()
            and attribute_of(n, name, old.encode()) != new.encode()
        ]  # fmt: skip
        set_attribute(one_of(chosen, rng), name, new)

    return plant


def epsilon_enlarged(model: onnx.ModelProto, rng: Generator) -> None:
    kinds = ("BatchNormalization", "LayerNormalization", "InstanceNormalization")
    node = one_of(nodes_of(model, *kinds), rng)
    set_attribute(node, "epsilon", 1000 * float(attribute_of(node, "epsilon", 1e-5)))


def norm_inputs_exchanged(model: onnx.ModelProto, rng: Generator) -> None:
    kinds = ("BatchNormalization", "LayerNormalization", "InstanceNormalization")
    node = one_of(nodes_of(model, *kinds), rng)
    node.input[1], node.input[2] = node.input[2], node.input[1]


def statistics_exchanged(model: onnx.ModelProto, rng: Generator) -> None:
    node = one_of(nodes_of(model, "BatchNormalization"), rng)
    node.input[3], node.input[4] = node.input[4], node.input[3]


def scalar_doubled(model: onnx.ModelProto, rng: Generator) -> None:
    """A number that a layer multiplies or divides by: attention's scale, for one."""
    known = tensors_in(model)
    names = [name for node in nodes_of(model, "Div", "Mul") for name in node.input if name in known]
    name = one_of([name for name in names if array_of(model, name).size == 1], rng)
    put(model, name, array_of(model, name) * 2)

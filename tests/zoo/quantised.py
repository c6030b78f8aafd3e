"""Q/DQ graphs made by hand of a float graph, in the forms that quantisers write.

The plain form is edgerep's own: int8 weights with a scale a row, float bias, one pair in front of
each layer. The others are what ONNX Runtime's and PyTorch's quantisers write by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
LAYERS = ("Conv", "Gemm", "MatMul", "ConvTranspose")


@dataclass(frozen=True)
class Form:
    """How a graph is quantised.

    Attributes:
        bias: "float", or "int32" with a DequantizeLinear.
        activations: "int8" (zero point 0), "uint8" (asymmetric), "uint8-128" or "int8-asymmetric".
        weights: "int8", or "pair": float weights with a QuantizeLinear of their own.
        rows: One scale for each output channel; else one for all.
        zero_points: Written where they are 0, too.
        layers: Names of the operators that are quantised.
    """

    bias: str = "float"
    activations: str = "int8"
    weights: str = "int8"
    rows: bool = True
    zero_points: bool = True
    layers: tuple[str, ...] = LAYERS


PLAIN = Form()


def quantised(model: onnx.ModelProto, images: Array, form: Form = PLAIN) -> onnx.ModelProto:
    """A copy of a float32 graph with Q/DQ, its ranges those of `images`."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    chosen = [n for n in graph.node if n.op_type in form.layers and n.input[1] in arrays]
    ranges = _ranges(model, [node.input[0] for node in chosen], images)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    paired: dict[str, str] = {}
    for node in graph.node:
        if node in chosen:
            tensor = node.input[0]
            if tensor not in paired:
                scale, zero = _activation(*ranges[tensor], form)
                paired[tensor] = f"{tensor}_dq"
                nodes += _pair(tensor, scale, zero, constants, form.zero_points)
            node.input[0] = paired[tensor]
            scale = _weight(node, arrays, form, nodes, constants)
            if form.bias == "int32" and len(node.input) > 2:
                activation = constants[f"{tensor}_scale"]
                _bias(node, arrays, activation * scale, nodes, constants)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    kept = [t for t in graph.initializer if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in constants.items())
    onnx.checker.check_model(made)
    return made


def a_float_graph(batch: int | str = "n") -> onnx.ModelProto:
    """Two convolutions, the second square, and a matrix product."""
    rng = np.random.default_rng(3)
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[{batch}, 3, 6, 5] x) => (float[{batch}, 4] y) {{
            a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
            b = Relu (a)
            c = Conv <pads = [1, 1, 1, 1]> (b, w2, b2)
            d = Relu (c)
            e = GlobalAveragePool (d)
            f = Flatten (e)
            y = Gemm <transB = 1> (f, w3, b3)
        }}""")
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 4, 3, 3), "b2": (4,), "w3": (4, 4),
              "b3": (4,)}  # fmt: skip
    model.graph.initializer.extend(
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 2, name)
        for name, shape in shapes.items()
    )
    return model


def with_a_number(model: onnx.ModelProto) -> None:
    """Multiply the output of `a_float_graph`, quantised, by one number that is stored as int8."""
    model.graph.node[-1].output[0] = "last"
    model.graph.node.append(helper.make_node(
        "DequantizeLinear", ["n_q", "n_scale", "n_zero"], ["n"], name="n_DQ"
    ))  # fmt: skip
    model.graph.node.append(helper.make_node("Mul", ["last", "n"], ["y"]))
    stored = {"n_q": np.int8(99), "n_scale": np.float32(0.021), "n_zero": np.int8(0)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()
    )


def a_few_images(count: int = 4) -> Array:
    return np.random.default_rng(4).standard_normal((count, 3, 6, 5)).astype(np.float32)


def saved(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


def _ranges(
    model: onnx.ModelProto, tensors: list[str], images: Array
) -> dict[str, tuple[float, float]]:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    there = {value.name for value in (*model.graph.output, *model.graph.input)}
    wanted = list(dict.fromkeys(tensors))
    for name in wanted:
        if name not in there:
            shown.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    entry = session.get_inputs()[0].name
    asked = [name for name in wanted if name != entry]
    runs = [session.run(asked, {entry: image[None]}) for image in images]
    found = {name: np.stack([run[at] for run in runs]) for at, name in enumerate(asked)}
    found[entry] = images
    return {name: (float(found[name].min()), float(found[name].max())) for name in wanted}


def _activation(low: float, high: float, form: Form) -> tuple[Array, Array]:
    if form.activations in ("int8", "uint8-128"):
        scale = max(abs(low), abs(high), 1e-6) / 127
        zero = np.int8(0) if form.activations == "int8" else np.uint8(128)
        return np.array(scale, np.float32), np.array(zero)
    low, high = min(low, 0.0), max(high, 1e-6)
    scale = (high - low) / 255
    least, kind = (0, np.uint8) if form.activations == "uint8" else (-128, np.int8)
    return np.array(scale, np.float32), np.array(round(least - low / scale), kind)


def _pair(
    tensor: str, scale: Array, zero: Array, constants: dict[str, Array], zero_points: bool
) -> list[onnx.NodeProto]:
    constants[f"{tensor}_scale"] = scale
    ends = [f"{tensor}_scale"]
    if zero_points or zero != 0 or zero.dtype != np.uint8:
        constants[f"{tensor}_zero"] = zero
        ends.append(f"{tensor}_zero")
    return [
        helper.make_node("QuantizeLinear", [tensor, *ends], [f"{tensor}_q"], name=f"{tensor}_Q"),
        helper.make_node(
            "DequantizeLinear", [f"{tensor}_q", *ends], [f"{tensor}_dq"], name=f"{tensor}_DQ"
        ),
    ]


def _weight(
    node: onnx.NodeProto,
    arrays: dict[str, Array],
    form: Form,
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
) -> Array:
    name = node.input[1]
    weight = arrays[name]
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    axis = 1 if node.op_type in ("MatMul", "ConvTranspose") else 0
    axis = 1 if node.op_type == "Gemm" and not transposed else axis
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest: Array = np.abs(weight).max(others if form.rows else None)
    scale: Array = (np.maximum(largest, 1e-8) / 127).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)] if form.rows else []
    zero = np.zeros(scale.shape, np.int8)
    constants[f"{name}_scale"], constants[f"{name}_zero"] = scale, zero
    ends = [f"{name}_scale", f"{name}_zero"]
    attributes: dict[str, Any] = {"axis": axis} if form.rows else {}
    stored = f"{name}_q"
    if form.weights == "pair":
        nodes.append(helper.make_node(
            "QuantizeLinear", [name, *ends], [stored], name=f"{name}_Q", **attributes
        ))  # fmt: skip
    else:
        levels = np.clip(np.rint(weight / scale.reshape(shape)), -127, 127)
        constants[stored] = levels.astype(np.int8)
    nodes.append(helper.make_node(
        "DequantizeLinear", [stored, *ends], [f"{name}_dq"], name=f"{name}_DQ", **attributes
    ))  # fmt: skip
    node.input[1] = f"{name}_dq"
    return scale


def _bias(
    node: onnx.NodeProto,
    arrays: dict[str, Array],
    scale: Array,
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
) -> None:
    name = node.input[2]
    constants[f"{name}_scale"] = scale.astype(np.float32)
    constants[f"{name}_q"] = np.rint(arrays[name] / scale).astype(np.int32)
    attributes: dict[str, Any] = {"axis": 0} if scale.ndim else {}
    nodes.append(helper.make_node(
        "DequantizeLinear", [f"{name}_q", f"{name}_scale"], [f"{name}_dq"], name=f"{name}_DQ",
        **attributes,
    ))  # fmt: skip
    node.input[2] = f"{name}_dq"

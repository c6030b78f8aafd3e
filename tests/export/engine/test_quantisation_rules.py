"""Which Q/DQ each release's parser takes; what TensorRT-RTX really says, it is asked."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.errors import EngineError
from edgerep.export.engine.building import build_engine
from edgerep.export.engine.quantisation_rules import objections_to, require_parsable
from zoo.quantised import Form, a_few_images, a_float_graph, quantised, saved, with_a_number

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)
IMAGES = a_few_images()
RELEASES = {"8.6.1": False, "10.3.0": False, "11.1.0": False, "1.7.1.116": True}


def of(form: Form) -> onnx.ModelProto:
    return quantised(a_float_graph(), IMAGES, form)


def reasons(model: onnx.ModelProto, version: str) -> str:
    found = objections_to(model, version, rtx=RELEASES[version])
    return " | ".join(f"{o.nodes}: {o.reason}" for o in found)


@pytest.mark.parametrize("version", RELEASES)
def test_edgereps_own_form_is_taken_by_every_release(version: str) -> None:
    assert reasons(of(Form()), version) == ""
    assert reasons(of(Form(rows=False)), version) == ""
    assert reasons(of(Form(weights="pair")), version) == ""


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize(
    ("form", "node", "said"),
    [
        (Form(bias="int32"), "b1_DQ", "dequantises int32 (a bias)"),
        (Form(activations="uint8"), "x_Q", "of uint8, and TensorRT takes it for int8"),
        (Form(activations="uint8", zero_points=False), "b_DQ", "zero point is not written"),
        (Form(activations="int8-asymmetric"), "x_Q", "zero point is not 0"),
    ],
)
def test_what_no_release_takes(version: str, form: Form, node: str, said: str) -> None:
    found = reasons(of(form), version)
    assert said in found
    assert node in found


def without_zero_points(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            del node.input[2:]


def float16_scales(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_scale"):
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))


def channels_of_an_activation(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name in ("x_scale", "x_zero"):
            one = numpy_helper.to_array(tensor)
            values = (np.full(3, one) * np.array([1, 2, 3])).astype(one.dtype)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in model.graph.node:
        if node.name in ("x_Q", "x_DQ"):
            node.attribute.append(helper.make_attribute("axis", 1))


@pytest.mark.parametrize(
    ("change", "refusing"),
    [
        (without_zero_points, {"8.6.1"}),
        (float16_scales, {"8.6.1"}),
        (channels_of_an_activation, {"8.6.1", "10.3.0"}),
        (with_a_number, {"11.1.0", "1.7.1.116"}),
    ],
)
def test_what_some_releases_take(
    change: Callable[[onnx.ModelProto], None], refusing: set[str]
) -> None:
    model = of(Form())
    change(model)
    assert {version for version in RELEASES if reasons(model, version)} == refusing


def test_integers_of_other_widths_and_integer_operators() -> None:
    model = of(Form())
    for tensor in model.graph.initializer:
        if tensor.name == "x_zero":
            tensor.CopyFrom(numpy_helper.from_array(np.array(0, np.int16), "x_zero"))
    assert "of int16; this release has int8" in reasons(model, "10.3.0")
    model.graph.node.append(helper.make_node("QLinearConv", ["a"] * 8, ["z"], "the_conv"))
    assert "('the_conv',): QLinearConv computes with integers" in reasons(model, "8.6.1")


def test_int4_weights_are_for_tensorrt_10(tmp_path: Path) -> None:
    levels = helper.make_tensor("w", TensorProto.INT4, [4, 4], np.arange(16) % 7)
    scale = numpy_helper.from_array(np.full(4, 0.1, np.float32), "s")
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["d"], "the_DQ", axis=1),
             helper.make_node("MatMul", ["x", "d"], ["y"])]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [levels, scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    assert "of int4; this release has int8" in reasons(model, "8.6.1")
    assert reasons(model, "10.3.0") == ""


def test_the_refusal_names_nodes_and_says_what_repair_does() -> None:
    with pytest.raises(EngineError, match="cannot take the Q/DQ of a") as caught:
        require_parsable(of(Form("int32", "int8-asymmetric")), "a.onnx", "10.3.0", rtx=False)
    said = str(caught.value)
    assert "b1_DQ, b2_DQ, b3_DQ: it dequantises int32" in said
    assert "--repair rewrites it" in said
    assert "ActivationSymmetric=True" in said
    assert len(said) < 2000


@needs_rtx
@pytest.mark.parametrize("form", [Form(), Form(rows=False), Form(weights="pair")])
def test_tensorrt_rtx_builds_what_the_rules_let_pass(form: Form, tmp_path: Path) -> None:
    file = saved(tmp_path / "q.onnx", of(form))
    engine = build_engine(file, tmp_path / "q.engine", runtime="tensorrt-rtx")
    assert engine.precision == "int8"


@needs_rtx
def test_tensorrt_rtx_itself_refuses_what_the_rules_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgerep.export.engine.building.require_parsable", lambda *given, **named: None
    )
    for form in (Form(bias="int32"), Form(activations="int8-asymmetric")):
        file = saved(tmp_path / "q.onnx", of(form))
        with pytest.raises(EngineError, match="ONNX parser refuses"):
            build_engine(file, tmp_path / "q.engine", runtime="tensorrt-rtx")
    model = of(Form())
    with_a_number(model)
    with pytest.raises(EngineError, match="Quantized constant"):
        build_engine(
            saved(tmp_path / "q.onnx", model), tmp_path / "q.engine", runtime="tensorrt-rtx"
        )


@pytest.mark.parametrize("weights", ["int8", "pair"])
@pytest.mark.parametrize("version", RELEASES)
def test_groups_without_int8_kernels_are_refused_before_tensorrt_10(
    version: str, weights: str
) -> None:
    grouped = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[1, 4, 6, 6] x) => (float[1, 6, 6, 6] y) { y = Conv <group = 2> (x, w) }
    """)
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2, 1, 1)
    grouped.graph.initializer.append(numpy_helper.from_array(values, "w"))
    images = np.linspace(-1, 1, 144, dtype=np.float32).reshape(1, 4, 6, 6)
    model = quantised(grouped, images, Form(weights=weights))
    found = reasons(model, version)
    assert ("take 2 and give 3 channels" in found) is (version == "8.6.1")
    assert reasons(grouped, version) == ""  # in floating point it may stand

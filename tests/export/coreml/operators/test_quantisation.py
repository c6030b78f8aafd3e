"""Q/DQ graphs as packages: the same integers and scales, and the answers of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.errors import CoremlError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.package import read_spec, weights_of
from edgerep.export.coreml.quiet_coremltools import load_program, quiet
from edgerep.export.from_torch.onnx_export import export_onnx
from zoo.quantised import Form, a_few_images, a_float_graph, quantised, saved, with_a_number

Array = NDArray[Any]
IMAGES = np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype(np.float32)
# A number halfway between two steps, off by a rounding error, is a step of the last layer's input:
# measured none on this network and these images.
RTOL = 1e-6
FORMS = {
    "edgerep": Form(),
    "one-scale": Form(rows=False),
    "int8-asymmetric": Form(activations="int8-asymmetric"),
    "zero-points-left-out": Form(activations="uint8", zero_points=False),
    "torch": Form("int32", "uint8", "pair", rows=True),
    "linear-layers-alone": Form(layers=("Gemm",)),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.ConvTranspose2d(8, 6, 2, 2), nn.SiLU(), nn.Conv2d(6, 12, 3, 2, 1, bias=False), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("float") / "float.onnx"
    export_onnx(network(), path, size=16)
    return onnx.load(path)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_package_answers_as_onnx_runtime(
    form: Form, float_model: onnx.ModelProto, tmp_path: Path
) -> None:
    file = saved(tmp_path / "q.onnx", quantised(float_model, IMAGES[:4], form))
    package = export_coreml(file, tmp_path / "q.mlpackage")
    assert package.precision == "int8"
    assert package.target == "iOS17"
    count = 1 if form.layers == ("Gemm",) else 5
    assert package.operators["quantize"] == package.operators["dequantize"] == count
    assert package.operators["constexpr_affine_dequantize"] == count
    with OnnxRuntimeSession(file, optimization="disabled") as session:
        wanted = np.concatenate([session.run(image[None])[0] for image in IMAGES])
    found = MilReferenceSession(package)
    answers = np.concatenate([found.run(image[None])[0] for image in IMAGES])
    assert np.abs(answers - wanted).max() <= RTOL * np.abs(wanted).max()


def test_integers_scales_and_zero_points_are_those_of_the_graph(
    float_model: onnx.ModelProto, tmp_path: Path
) -> None:
    model = quantised(float_model, IMAGES[:4], Form(activations="uint8"))
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    package = export_coreml(saved(tmp_path / "q.onnx", model), tmp_path / "q.mlpackage")
    spec = read_spec(package.path)
    with quiet():
        program = load_program(spec, spec.specificationVersion, str(weights_of(spec, package.path)))
    ops = list(program.functions["main"].operations)
    stored = [op for op in ops if op.op_type == "constexpr_affine_dequantize"]
    nodes = [
        n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in arrays
    ]
    assert len(stored) == len(nodes) == 5
    for op, node in zip(stored, nodes, strict=True):
        levels, scale, zero = (arrays[name] for name in node.input)
        assert np.array_equal(op.quantized_data.val, levels)
        assert op.quantized_data.val.dtype == levels.dtype
        assert np.array_equal(op.scale.val, scale)
        assert np.array_equal(op.zero_point.val, zero)
    pairs = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    for op, node in zip((op for op in ops if op.op_type == "quantize"), pairs, strict=True):
        assert op.scale.val == arrays[node.input[1]]
        assert op.zero_point.val == arrays[node.input[2]]
        assert op.output_dtype.val == "uint8"


def _graph(
    nodes: list[onnx.NodeProto], constants: dict[str, Array], opset: int = 18
) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 16, 16] if name == "x"
            else None) for name in ("x", "y")]  # fmt: skip
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return onnx.shape_inference.infer_shapes(model)


def _pair(zero: Array, scale: Array, **attributes: Any) -> tuple[list[Any], dict[str, Array]]:
    nodes = [
        helper.make_node(f"{kind}Linear", [one, "s", "z"], [other], f"the_{kind[0]}", **attributes)
        for kind, one, other in (("Quantize", "x", "q"), ("Dequantize", "q", "y"))
    ]
    return nodes, {"s": scale, "z": zero}


def test_a_scale_for_each_channel_of_an_activation(tmp_path: Path) -> None:
    scale = np.array([0.01, 0.02, 0.03], np.float32)
    file = saved(tmp_path / "q.onnx", _graph(*_pair(np.zeros(3, np.int8), scale, axis=-3)))
    package = export_coreml(file, tmp_path / "q.mlpackage")
    with OnnxRuntimeSession(file) as session:
        (wanted,) = session.run(IMAGES[:1])
    (found,) = MilReferenceSession(package).run(IMAGES[:1])
    assert np.array_equal(found, wanted)


def test_weights_that_the_graph_turns_stay_integers(tmp_path: Path) -> None:
    levels = np.random.default_rng(1).integers(-127, 128, (4, 256)).astype(np.int8)
    constants: dict[str, Array] = {
        "w": levels, "s": np.array([0.1, 0.2, 0.3, 0.4], np.float32), "z": np.zeros(4, np.int8),
        "shape": np.array([3, 256]),
    }  # fmt: skip
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0),
             helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
             helper.make_node("Reshape", ["x", "shape"], ["r"]),
             helper.make_node("MatMul", ["r", "t"], ["y"])]  # fmt: skip
    file = saved(tmp_path / "q.onnx", _graph(nodes, constants))
    package = export_coreml(file, tmp_path / "q.mlpackage")
    assert package.target == "iOS16"
    assert dict(package.operators) == {
        "reshape": 1, "constexpr_affine_dequantize": 1, "linear": 1,
    }  # fmt: skip
    with OnnxRuntimeSession(file) as session:
        (wanted,) = session.run(IMAGES[:1])
    (found,) = MilReferenceSession(package).run(IMAGES[:1])
    assert np.abs(found - wanted).max() <= RTOL * np.abs(wanted).max()


@pytest.mark.parametrize("target", ["iOS18", "iOS26"])
def test_every_target_that_has_int8(
    target: str, float_model: onnx.ModelProto, tmp_path: Path
) -> None:
    file = saved(tmp_path / "q.onnx", quantised(float_model, IMAGES[:2]))
    package = export_coreml(file, tmp_path / "q.mlpackage", target=target)
    assert (package.target, package.precision) == (target, "int8")
    MilReferenceSession(package).run(IMAGES[:1])


@pytest.mark.parametrize(
    ("form", "target", "said"),
    [(Form(), "iOS16", "--target iOS17"), (Form(), "iOS15", "--target iOS17")],
)
def test_an_older_target_is_refused_with_the_one_to_take(
    form: Form, target: str, said: str, float_model: onnx.ModelProto, tmp_path: Path
) -> None:
    file = saved(tmp_path / "q.onnx", quantised(float_model, IMAGES[:2], form))
    with pytest.raises(CoremlError, match=said):
        export_coreml(file, tmp_path / "q.mlpackage", target=target)


@pytest.mark.parametrize(
    ("zero", "scale", "attributes", "said"),
    [
        (np.array(0, np.int16), np.array(0.1, np.float32), {}, "of int16; Core ML quantises"),
        (np.array(0, np.int8), np.array(0.0, np.float32), {}, "not above 0"),
        (np.array(0, np.int8), np.array(np.inf, np.float32), {}, "not finite"),
        (np.zeros((3, 2), np.int8), np.ones((3, 2), np.float32), {"block_size": 8, "axis": 2},
         "block_size"),
    ],
)  # fmt: skip
def test_what_core_ml_has_not_is_refused_by_node(
    zero: Array, scale: Array, attributes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = saved(tmp_path / "q.onnx", _graph(*_pair(zero, scale, **attributes), opset=21))
    with pytest.raises(CoremlError, match=said) as caught:
        export_coreml(file, tmp_path / "q.mlpackage")
    assert "the_Q" in str(caught.value)


def test_one_number_without_a_dimension(tmp_path: Path) -> None:
    images = a_few_images()
    model = quantised(a_float_graph(1), images)
    with_a_number(model)
    file = saved(tmp_path / "q.onnx", model)
    found = MilReferenceSession(export_coreml(file, tmp_path / "q.mlpackage")).run(images[:1])[0]
    with OnnxRuntimeSession(file, optimization="disabled") as session:
        wanted = session.run(images[:1])[0]
    assert np.abs(found - wanted).max() <= RTOL * np.abs(wanted).max()


def test_constants_of_a_norm_that_are_stored_as_integers(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[2, 3, 4] x) => (float[2, 3, 4] y)
        <int8[4] q = {100, -50, 3, 127}, float s = {0.02}, int8 z = {0}, float[4] b = {1, 2, 3, 4}>
        {
            w = DequantizeLinear (q, s, z)
            y = LayerNormalization (x, w, b)
        }""")
    images = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)
    file = saved(tmp_path / "q.onnx", model)
    found = MilReferenceSession(export_coreml(file, tmp_path / "q.mlpackage")).run(images)[0]
    with OnnxRuntimeSession(file, optimization="disabled") as session:
        wanted = session.run(images)[0]
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()

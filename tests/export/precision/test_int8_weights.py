"""Weights in eight bits: what they are rounded to, how small the file gets, and that it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.bench.parity.verification import verify
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.errors import OptionError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.engine.building import build_engine
from edgerep.export.graph.onnx_file import open_graph, precision_of
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.export.precision.int8_weights import with_int8_weights
from zoo.onnx_files import a_file

ENDS: dict[str, list[str | int]] = {"x": ["n", 3, 8, 8], "y": ["n", 10]}


def a_graph() -> onnx.ModelProto:
    """A plain, a grouped and a transposed convolution, and a classifier."""
    rng = np.random.default_rng(0)
    shapes = {"a.weight": (16, 3, 3, 3), "b.weight": (16, 4, 3, 3), "c.weight": (16, 8, 2, 2),
              "d.weight": (10, 8)}  # fmt: skip
    weights = [
        numpy_helper.from_array(
            (rng.standard_normal(shape) * rng.uniform(0.1, 9, shape[:1] + (1,) * (len(shape) - 1)))
            .astype(np.float32),
            name,
        )
        for name, shape in shapes.items()
    ]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "a.weight"], ["a"], "a", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "b.weight"], ["b"], "b", pads=[1] * 4, group=4),
        helper.make_node("ConvTranspose", ["b", "c.weight"], ["c"], "c", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "d.weight"], ["y"], "d", transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ENDS.items()
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_each_weight_is_within_half_a_step_of_its_channel() -> None:
    model = a_graph()
    before = model.SerializeToString(deterministic=True)
    narrow, found = with_int8_weights(model)
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(narrow, full_check=True)
    assert precision_of(narrow) == "int8-weights"
    stored = {t.name: numpy_helper.to_array(t) for t in narrow.graph.initializer}
    axes = {n.input[0]: next(a.i for a in n.attribute if a.name == "axis")
            for n in narrow.graph.node if n.op_type == "DequantizeLinear"}  # fmt: skip
    assert len(axes) == 4
    for tensor in model.graph.initializer:
        exact, codes = numpy_helper.to_array(tensor), stored[tensor.name]
        assert codes.dtype == np.int8
        axis = axes[tensor.name]
        assert axis == (1 if tensor.name == "c.weight" else 0)
        shape = [-1 if at == axis else 1 for at in range(exact.ndim)]
        step = stored[f"{tensor.name}_step"].reshape(shape)
        assert (np.abs(codes * step - exact) <= 0.5001 * step).all()
        others = tuple(at for at in range(exact.ndim) if at != axis)
        assert (np.abs(codes).max(others) == 127).all()  # no step is larger than it must be
    assert [layer["name"] for layer in found["layers"]] == ["a", "b", "c", "d"]
    assert all(30 < layer["sqnr_db"] < 60 for layer in found["layers"])
    assert found["bytes_before"] > 2.5 * found["bytes_after"]


def test_layers_can_be_kept_and_must_exist() -> None:
    narrow, found = with_int8_weights(a_graph(), ("a",))
    assert found["kept"] == {"a": "as asked for"}
    kept = next(t for t in narrow.graph.initializer if t.name == "a.weight")
    assert kept.data_type == TensorProto.FLOAT
    with pytest.raises(OptionError, match="stem is no layer"):
        with_int8_weights(a_graph(), ("stem",))


def test_the_file_runs_agrees_and_goes_to_every_target(tmp_path: Path) -> None:
    onnx.save(a_graph(), tmp_path / "a.onnx")
    narrow = adapt_onnx(open_graph(tmp_path / "a.onnx"), tmp_path / "w.onnx",
                        precision="int8-weights")  # fmt: skip
    assert narrow.precision == "int8-weights"
    assert narrow.options["int8-weights"]["bytes_after"] > 0
    package = export_coreml(narrow, tmp_path / "w.mlpackage")
    assert (package.precision, package.target) == ("int8-weights", "iOS16")
    x = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    answers = []
    for path in (tmp_path / "a.onnx", narrow.path, package.path):
        with open_runnable(path).open() as session:
            answers.append(np.concatenate([session.run(image[None])[0] for image in x]))
    np.testing.assert_allclose(answers[1], answers[2], rtol=1e-4, atol=1e-4)
    off = np.linalg.norm(answers[1] - answers[0]) / np.linalg.norm(answers[0])
    assert 1e-4 < off < 0.03  # rounded, and no more


def test_an_engine_is_made_of_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    graph = open_graph(a_file(tmp_path / "a.onnx", 1))
    narrow = adapt_onnx(graph, tmp_path / "w.onnx", precision="int8-weights")
    engine = build_engine(narrow, tmp_path / "w.engine", runtime="tensorrt-rtx")
    assert engine.precision == "int8-weights"


def test_a_wrong_step_shows(tmp_path: Path) -> None:
    onnx.save(a_graph(), tmp_path / "a.onnx")
    adapt_onnx(open_graph(tmp_path / "a.onnx"), tmp_path / "w.onnx", precision="int8-weights")
    assert verify(tmp_path / "a.onnx", [tmp_path / "w.onnx"]).passed
    model = onnx.load(tmp_path / "w.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "b.weight_step":  # two channels of sixteen changed places
            steps = numpy_helper.to_array(tensor).copy()
            steps[[2, 3]] = steps[[3, 2]]
            tensor.CopyFrom(numpy_helper.from_array(steps, tensor.name))
    onnx.save(model, tmp_path / "w.onnx")
    (tmp_path / "w.onnx.json").unlink()
    assert not verify(tmp_path / "a.onnx", [tmp_path / "w.onnx"]).passed

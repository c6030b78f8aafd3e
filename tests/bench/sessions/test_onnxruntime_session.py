"""Running ONNX files with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.errors import OnnxError, OptionError


def save(path: Path, nodes: list[onnx.NodeProto], outputs: tuple[str, ...]) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("a", "b")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def arithmetic(tmp_path: Path) -> Path:
    nodes = [helper.make_node("Sub", ["a", "b"], ["d"]), helper.make_node("Mul", ["a", "b"], ["p"])]
    return save(tmp_path / "arithmetic.onnx", nodes, ("p", "d"))


A = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([[5, 6], [7, 9]], np.float32)


@pytest.mark.parametrize("optimization", ["disabled", "basic", "extended", "all"])
def test_inputs_and_outputs_are_in_the_files_order(arithmetic: Path, optimization: str) -> None:
    with OnnxRuntimeSession(arithmetic, threads=1, optimization=optimization) as session:
        product, difference = session.run(A, B)
    np.testing.assert_array_equal(product, A * B)
    np.testing.assert_array_equal(difference, A - B)


def test_outputs_are_new_every_time(arithmetic: Path) -> None:
    with OnnxRuntimeSession(arithmetic) as session:
        first, _ = session.run(A, B)
        second, _ = session.run(A, A)
    np.testing.assert_array_equal(first, A * B)
    np.testing.assert_array_equal(second, A * A)


def test_bind_runs_on_what_was_given(tmp_path: Path) -> None:
    """An index out of range fails at run time: which memory the bound call reads can be seen."""
    graph = helper.make_graph(
        [helper.make_node("GatherElements", ["data", "at"], ["y"])],
        "test",
        [
            helper.make_tensor_value_info("data", TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("at", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path / "gather.onnx"
    path.write_bytes(model.SerializeToString())
    data = np.zeros(3, np.float32)
    with OnnxRuntimeSession(path) as session:
        session.bind(data, np.array([2]))()
        outside = session.bind(data, np.array([7]))
        with pytest.raises(OnnxError, match=r"cannot run .*gather\.onnx"):
            outside()


def test_strided_inputs_are_bound_too(arithmetic: Path) -> None:
    with OnnxRuntimeSession(arithmetic) as session:
        session.bind(A.T, B[::-1])()


def test_wrong_inputs_are_refused(arithmetic: Path) -> None:
    with OnnxRuntimeSession(arithmetic) as session:
        with pytest.raises(ValueError, match=r"has 2 input\(s\), a, b; 1 array"):
            session.run(A)
        with pytest.raises(OnnxError, match="cannot run"):
            session.run(A, B.astype(np.float64))


def test_what_onnxruntime_refuses_is_an_onnx_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x08\x0a garbage")
    unknown = save(
        tmp_path / "unknown.onnx", [helper.make_node("Frobnicate", ["a"], ["y"])], ("y",)
    )
    for path, reason in (
        (garbage, "rotobuf"),
        (unknown, "Frobnicate"),
        (tmp_path / "absent.onnx", "exist"),
    ):
        with pytest.raises(OnnxError, match=reason) as caught:
            OnnxRuntimeSession(path)
        assert path.name in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_unknown_optimization_is_refused(arithmetic: Path) -> None:
    with pytest.raises(OptionError, match="'O3' is none of disabled, basic, extended, all"):
        OnnxRuntimeSession(arithmetic, optimization="O3")


def test_says_what_computed_the_answer(arithmetic: Path) -> None:
    with OnnxRuntimeSession(arithmetic, threads=1) as session:
        assert session.runtime == "onnxruntime"
        assert onnxruntime.__version__ in session.how
        assert "CPUExecutionProvider" in session.how

"""Graphs of old opsets, moved to opset 18: ONNX Runtime computes the same from both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.errors import OnnxError
from edgerep.export.graph.index import opset_of
from edgerep.export.graph.raising import OLDEST_OPSET, RAISED_OPSET, raise_opset

IMAGE = (2, 4, 6, 8)
NORM = {name: np.linspace(0.5, 1.5, 4, dtype=np.float32) for name in ("g", "b", "m", "v")}


def model_of(
    operator: str,
    opset: int,
    attributes: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    shape: tuple[int, ...] = IMAGE,
) -> onnx.ModelProto:
    constants = constants or {}
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *constants], ["y"], name="the_node",
                          **(attributes or {}))],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if v is not None],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def scales(*factors: float) -> dict[str, Any]:
    return {"s": np.array([1, 1, *factors], np.float32)}


def answers(model: onnx.ModelProto, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found: np.ndarray[Any, Any] = session.run(None, {"x": x})[0]
    return found


CASES: dict[str, tuple[str, int, dict[str, Any], dict[str, Any] | None]] = {
    "upsample 7": ("Upsample", 7, {"scales": [1.0, 1.0, 2.0, 3.0]}, None),
    "upsample 7 linear": ("Upsample", 7, {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}, None),
    "upsample 9": ("Upsample", 9, {}, scales(1.6, 2.5)),
    "upsample 9 linear": ("Upsample", 9, {"mode": "linear"}, scales(1.5, 2.25)),
    "resize 10": ("Resize", 10, {}, scales(2.5, 2)),
    "resize 10 smaller": ("Resize", 10, {}, scales(0.6, 0.4)),
    "resize 10 linear": ("Resize", 10, {"mode": "linear"}, scales(0.5, 1.5)),
    "softmax 11": ("Softmax", 11, {"axis": -1}, None),
    "softmax 9 rows": ("Softmax", 9, {}, None),
    "log-softmax 11 rows": ("LogSoftmax", 11, {"axis": 2}, None),
    "batch norm 9": ("BatchNormalization", 9, {}, NORM),
    "clip 7": ("Clip", 7, {"min": -0.5, "max": 0.25}, None),
    "pad 9": ("Pad", 9, {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 0.5}, None),
    "reduce 12": ("ReduceSum", 12, {"axes": [1], "keepdims": 0}, None),
    "squeeze 8": ("Unsqueeze", 8, {"axes": [0]}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_raised_graph_computes_the_same(name: str) -> None:
    operator, opset, attributes, constants = CASES[name]
    old = model_of(operator, opset, attributes, constants)
    before = old.SerializeToString()
    raised = raise_opset(old)
    assert opset_of(raised) == RAISED_OPSET
    assert {entry.domain for entry in raised.opset_import} == {""}
    assert old.SerializeToString() == before
    np.testing.assert_array_equal(answers(raised, IMAGE), answers(old, IMAGE))


def test_a_softmax_over_the_last_dimension_stays_one_node() -> None:
    raised = raise_opset(model_of("Softmax", 9, shape=(2, 5)))
    assert [node.op_type for node in raised.graph.node] == ["Softmax"]
    np.testing.assert_allclose(answers(raised, (2, 5)).sum(1), 1, rtol=1e-6)


def test_what_cannot_be_raised_is_refused() -> None:
    with pytest.raises(OnnxError, match=r"`the_node` .Resize. makes one side smaller"):
        raise_opset(model_of("Resize", 10, constants=scales(0.5, 2)))
    with pytest.raises(OnnxError, match=f"opset 6.* from {OLDEST_OPSET} on"):
        raise_opset(model_of("Relu", 6))

"""Q/DQ said otherwise: the same numbers to the last bit, and nothing left that TensorRT refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.export.engine.quantisation_rules import objections_to
from edgerep.export.graph.exact_repairs import repair_exactly
from zoo.quantised import Form, a_few_images, a_float_graph, quantised, saved, with_a_number

Array = NDArray[Any]
IMAGES = a_few_images()


def replaced(model: onnx.ModelProto, name: str, change: Callable[[Array], Array]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))


def node_named(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def int32_biases() -> onnx.ModelProto:
    return quantised(a_float_graph(), IMAGES, Form(bias="int32"))


def uint8_around_128() -> onnx.ModelProto:
    return quantised(a_float_graph(), IMAGES, Form(activations="uint8-128"))


def float_weights() -> onnx.ModelProto:
    return quantised(a_float_graph(), IMAGES, Form(weights="pair"))


def no_zero_points() -> onnx.ModelProto:
    model = quantised(a_float_graph(), IMAGES)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            del node.input[2:]
    return model


def no_axis() -> onnx.ModelProto:
    """Of a square weight, so that both readings of a missing axis are possible."""
    model = quantised(a_float_graph(), IMAGES)
    del node_named(model, "w2_DQ").attribute[:]
    return model


def equal_scales_of_channels() -> onnx.ModelProto:
    model = quantised(a_float_graph(), IMAGES)
    for end, count in (("x_scale", 3), ("x_zero", 3)):
        replaced(model, end, lambda a, n=count: np.full(n, a))  # type: ignore[misc]
    for name in ("x_Q", "x_DQ"):
        node_named(model, name).attribute.append(helper.make_attribute("axis", 1))
    return model


def a_dead_channel_of_scale_0() -> onnx.ModelProto:
    model = quantised(a_float_graph(), IMAGES)
    dead = np.array([0, 1, 1, 1])
    replaced(model, "w1_scale", lambda a: (a * dead).astype(np.float32))
    replaced(model, "w1_q", lambda a: (a * dead[:, None, None, None]).astype(np.int8))
    return model


def uint8_weights() -> onnx.ModelProto:
    model = quantised(a_float_graph(), IMAGES)
    replaced(model, "w1_q", lambda a: (a.astype(int) + 128).astype(np.uint8))
    replaced(model, "w1_zero", lambda a: np.full(a.shape, 128, np.uint8))
    return model


def weights_around_another_integer() -> onnx.ModelProto:
    model = quantised(a_float_graph(), IMAGES)
    replaced(model, "w1_q", lambda a: (np.clip(a.astype(int), -90, 90) + 7).astype(np.int8))
    replaced(model, "w1_zero", lambda a: np.full(a.shape, 7, np.int8))
    return model


def a_number_without_a_dimension() -> onnx.ModelProto:
    model = quantised(a_float_graph(), IMAGES)
    with_a_number(model)
    return model


CASES = {
    int32_biases: "int32 constants", uint8_around_128: "uint8 around 128",
    float_weights: "float weights", no_zero_points: "zero points of 0", no_axis: "axes",
    equal_scales_of_channels: "equal scales", a_dead_channel_of_scale_0: "0 throughout",
    uint8_weights: "uint8 around 128", weights_around_another_integer: "around another integer",
    a_number_without_a_dimension: "single numbers",
}  # fmt: skip


@pytest.mark.parametrize(("make", "said"), CASES.items())
def test_the_numbers_stay_to_the_last_bit_and_every_release_takes_the_graph(
    make: Callable[[], onnx.ModelProto], said: str, tmp_path: Path
) -> None:
    model = make()
    before = model.SerializeToString()
    repaired = repair_exactly(model)
    assert model.SerializeToString() == before
    assert any(said in words for words in repaired.done), repaired.done
    onnx.checker.check_model(repaired.model, full_check=True)
    for version, rtx in (("8.6.1", False), ("10.3.0", False), ("1.7.1.116", True)):
        assert objections_to(repaired.model, version, rtx=rtx) == ()
    answers = []
    for name, graph in (("a", model), ("b", repaired.model)):
        file = saved(tmp_path / f"{name}.onnx", graph)
        with OnnxRuntimeSession(file, optimization="disabled") as session:
            answers.append(session.run(IMAGES)[0])
    one, other = answers
    assert np.array_equal(one, other)
    assert repair_exactly(repaired.model).done == ()


@pytest.mark.parametrize("activations", ["uint8", "int8-asymmetric"])
def test_what_has_no_equal_around_0_stays_as_it_is(activations: str) -> None:
    model = quantised(a_float_graph(), IMAGES, Form(activations=activations))
    repaired = repair_exactly(model)
    assert repaired.done == ()
    assert repaired.model is model


def test_a_bias_whose_scale_is_computed_stays() -> None:
    model = int32_biases()
    scale = node_named(model, "b1_DQ").input[1]
    model.graph.node.insert(0, helper.make_node("Abs", [scale], ["computed"]))
    node_named(model, "b1_DQ").input[1] = "computed"
    repaired = repair_exactly(model)
    assert "b1_DQ" in {node.name for node in repaired.model.graph.node}
    assert repaired.done == (
        "int32 constants dequantised into the numbers that they stand for (2)",
    )

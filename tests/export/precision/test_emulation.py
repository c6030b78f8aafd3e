"""The copy of a float16 graph computes in float32 what float16 would give."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.errors import OnnxError
from edgerep.export.precision.emulation import Emulated, emulated

RNG = np.random.default_rng(0)


def weights(*shape: int) -> Array:
    """Sixteenths from -4 to 4: sums of their products are exact in float32, not in float16."""
    return RNG.integers(-64, 65, shape) / 16.0


def graph(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
    *,
    given: int = TensorProto.FLOAT16,
    made: int = TensorProto.FLOAT16,
    opset: int = 18,
) -> onnx.ModelProto:
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", given, [2, 8])],
            [helper.make_tensor_value_info("y", made, None)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


def run(copy: Emulated, x: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(copy.model.SerializeToString())
    names = [value.name for value in copy.model.graph.output]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def copy_of(model: onnx.ModelProto, *also: str) -> Emulated:
    found = emulated(model, also)
    assert found is not None
    return found


def test_every_result_is_rounded_and_the_largest_is_told_before() -> None:
    first, second = weights(8, 32).astype(np.float16), weights(32, 4).astype(np.float16)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["one"], "one"),
        helper.make_node("Relu", ["one"], ["two"]),
        helper.make_node("MatMul", ["two", "b"], ["three"]),
        helper.make_node("Sigmoid", ["three"], ["y"]),
    ]
    copy = copy_of(graph(nodes, {"a": first, "b": second}), "one")
    x = weights(2, 8).astype(np.float32)
    found = run(copy, x)
    wide = x @ first.astype(np.float32)
    one = wide.astype(np.float16)
    assert (found["one"] == one).all()
    assert (one != wide).any()
    three = np.maximum(one, 0).astype(np.float32) @ second.astype(np.float32)
    y = 1 / (1 + np.exp(-three.astype(np.float16).astype(np.float64)))
    assert np.abs(found["y"] - y).max() < 1e-3
    assert (found["y"] == found["y"].astype(np.float16)).all()
    assert [one.tensor for one in copy.rounded] == ["one", "three", "y"]
    assert [one.sums for one in copy.rounded] == [True, True, False]
    largest = list(found.values())[-3:]
    assert largest[0] == np.abs(wide).max()
    assert largest[1] == np.abs(three).max()
    assert copy.types == ("float16",)
    assert copy.outputs == 1


def test_what_is_float32_in_the_file_stays_float32() -> None:
    first = weights(8, 32).astype(np.float32) * (1 + 2.0**-12)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["one"]),
        helper.make_node("Cast", ["one"], ["y"], to=TensorProto.FLOAT16),
    ]
    copy = copy_of(graph(nodes, {"a": first}, given=TensorProto.FLOAT), "one")
    x = weights(2, 8).astype(np.float32)
    found = run(copy, x)
    assert np.abs(found["one"] - x @ first).max() < 1e-4
    assert (found["one"] != found["one"].astype(np.float16)).any()
    assert (found["y"] == found["one"].astype(np.float16)).all()


def test_bfloat16_is_rounded_as_bfloat16() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["narrow"], to=TensorProto.BFLOAT16),
        helper.make_node("Add", ["narrow", "narrow"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.FLOAT),
    ]
    float32 = TensorProto.FLOAT
    copy = copy_of(graph(nodes, {}, given=float32, made=float32))
    x = np.full((2, 8), 1 + 2.0**-7 + 2.0**-10, np.float32)
    assert (run(copy, x)["y"] == 2 * (1 + 2.0**-7)).all()
    assert copy.types == ("bfloat16",)


def test_branches_are_rounded_too() -> None:
    def branch(name: str, factor: float) -> onnx.GraphProto:
        value = numpy_helper.from_array(np.array(factor, np.float16), "factor")
        node = helper.make_node("Mul", ["x", "factor"], [name])
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT16, None)
        return helper.make_graph([node], name, [], [made], [value])

    nodes = [
        helper.make_node("If", ["yes"], ["y"], then_branch=branch("p", 1 / 3),
                         else_branch=branch("q", 1.0))
    ]  # fmt: skip
    x = weights(2, 8).astype(np.float32)
    y = run(copy_of(graph(nodes, {"yes": np.array(True)})), x)["y"]
    assert (y == (x * np.float32(np.float16(1 / 3))).astype(np.float16)).all()


def test_a_graph_without_such_types_needs_none() -> None:
    float32 = TensorProto.FLOAT
    relu = helper.make_node("Relu", ["x"], ["y"])
    assert emulated(graph([relu], {}, given=float32, made=float32)) is None


def test_types_that_cannot_be_worked_out_are_named() -> None:
    nodes = [
        helper.make_node("Strange", ["x"], ["one"], domain="elsewhere"),
        helper.make_node("Relu", ["one"], ["y"]),
    ]
    model = graph(nodes, {})
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    with pytest.raises(OnnxError, match="Strange"):
        emulated(model)


def test_the_file_that_was_given_stays_as_it_is() -> None:
    model = graph(
        [helper.make_node("MatMul", ["x", "a"], ["y"])], {"a": weights(8, 4).astype(np.float16)}
    )
    before = model.SerializeToString()
    copy_of(model)
    assert model.SerializeToString() == before

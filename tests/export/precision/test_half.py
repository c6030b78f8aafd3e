"""float16 graphs: what is rounded, what stays wide, and what float16 cannot hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from edgerep.bench.parity.figures.tolerance import compare
from edgerep.errors import OnnxError
from edgerep.export.precision.half import convert_to_half

HEADER = '<ir_version: 8, opset_import: ["" : 18]>'


def parsed(text: str) -> onnx.ModelProto:
    return parser.parse_model(f"{HEADER}\n{text}")


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value, by strict inference: a graph whose types clash raises."""
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return {**found, **{tensor.name: tensor.data_type for tensor in inferred.initializer}}


def weighted(values: np.ndarray) -> onnx.ModelProto:
    """`y = x * w`, after a Relu that keeps the product from being read as normalisation."""
    model = parsed("""
        g (float[N, 4] x) => (float[N, 4] y) <float[4] w = {0, 0, 0, 0}> {
            r = Relu(x)
            y = Mul(r, w)
        }""")
    tensor = numpy_helper.from_array(np.asarray(values, np.float32), "w")
    model.graph.initializer[0].CopyFrom(tensor)
    return model


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))


@given(st.lists(st.floats(-65504, 65504, width=32), min_size=4, max_size=4))
def test_weights_are_rounded_to_nearest_and_the_source_is_left_alone(values: list[float]) -> None:
    model = weighted(np.array(values))
    before = model.SerializeToString(deterministic=True)
    half = convert_to_half(model)
    assert model.SerializeToString(deterministic=True) == before
    rounded = constant(half, "w")
    assert rounded.dtype == np.float16
    error = np.abs(rounded.astype(np.float64) - np.array(values))
    half_a_step = np.maximum(2.0**-11 * np.abs(values), 2.0**-25)  # the second below 6e-5
    assert (error <= half_a_step).all()


def test_inputs_and_outputs_stay_float32_and_everything_between_is_float16() -> None:
    types = types_of(convert_to_half(weighted(np.ones(4))))
    assert (types["x"], types["y"]) == (TensorProto.FLOAT, TensorProto.FLOAT)
    assert {types[name] for name in ("x_float16", "r", "w", "y_float16")} == {TensorProto.FLOAT16}


PIXELS = """
    g (uint8[N, 3, 4, 4] x) => (float[N, 2, 4, 4] y)
    <float[1, 3, 1, 1] mean = {123.675, 116.28, 103.53},
     float[1, 3, 1, 1] scale = {0.0171, 0.0175, 0.0174},
     float[2, 3, 1, 1] w = {1, 2, 3, 4, 5, 6}>
    {
        f = Cast <to = 1> (x)
        s = Sub(f, mean)
        n = Mul(s, scale)
        y = Conv(n, w)
    }"""


def test_normalisation_in_front_keeps_float32_and_its_constants_their_bits() -> None:
    model = parsed(PIXELS)
    half = convert_to_half(model)
    types = types_of(half)
    wide = ("f", "s", "n", "mean", "scale")
    assert {types[name] for name in wide} == {TensorProto.FLOAT}
    assert {types[name] for name in ("x_float16", "w", "y_float16")} == {TensorProto.FLOAT16}
    for name in ("mean", "scale"):
        assert constant(half, name).tobytes() == constant(model, name).tobytes()
    assert [node.op_type for node in half.graph.node] == [
        "Cast", "Sub", "Mul", "Cast", "Conv", "Cast",
    ]  # fmt: skip


def test_a_constant_that_the_network_reads_too_is_no_normalisation() -> None:
    model = parsed("""
        g (float[N, 3] x) => (float[N, 3] y) <float[3] c = {1, 2, 3}> {
            s = Sub(x, c)
            y = Mul(s, c)
        }""")
    types = types_of(convert_to_half(model))
    assert {types[name] for name in ("s", "c")} == {TensorProto.FLOAT16}


def test_an_input_that_is_read_twice_has_one_cast_for_both() -> None:
    model = parsed("""
        g (float[N, 3] x) => (float[N, 3] y) { a = Relu(x)  b = Sigmoid(x)  y = Add(a, b) }""")
    half = convert_to_half(model)
    types_of(half)
    assert [list(n.output) for n in half.graph.node if n.op_type == "Cast"] == [
        ["x_float16"], ["y"],
    ]  # fmt: skip


def test_an_output_that_the_network_goes_on_from_is_read_in_float16() -> None:
    model = parsed("""
        g (float[N, 3] x) => (float[N, 3] a, float[N, 3] b) { a = Relu(x)  b = Sigmoid(a) }""")
    half = convert_to_half(model)
    types_of(half)
    sigmoid = next(node for node in half.graph.node if node.op_type == "Sigmoid")
    assert list(sigmoid.input) == ["a_float16"]


def test_scales_of_a_resize_stay_float32_as_the_operator_demands() -> None:
    model = parsed("""
        g (float[N, 1, 2, 2] x) => (float[N, 1, 4, 4] y) <float[4] scales = {1, 1, 2, 2}> {
            r = Relu(x)
            y = Resize <mode = "nearest"> (r, , scales)
        }""")
    types = types_of(convert_to_half(model))
    assert types["scales"] == TensorProto.FLOAT
    assert types["r"] == TensorProto.FLOAT16


@pytest.mark.parametrize(
    "attribute", ["value = float {0.5}", "value_float = 0.5", "value_floats = [0.5]"]
)
def test_constants_among_the_operators_become_float16(attribute: str) -> None:
    model = parsed(f"""
        g (float[N, 3] x) => (float[N, 3] y) {{
            r = Relu(x)
            c = Constant <{attribute}> ()
            y = Mul(r, c)
        }}""")
    assert types_of(convert_to_half(model))["c"] == TensorProto.FLOAT16


def test_integers_stay_integers_on_the_way_in_and_out() -> None:
    model = parsed("""
        g (int64[N, 3] ids, float[N, 3] x) => (float[N, 3] y, int64[N] best) {
            f = Cast <to = 1> (ids)
            r = Relu(x)
            y = Mul(f, r)
            best = ArgMax <axis = 1, keepdims = 0> (y)
        }""")
    types = types_of(convert_to_half(model))
    assert (types["ids"], types["best"]) == (TensorProto.INT64, TensorProto.INT64)
    assert (types["x_float16"], types["r"]) == (TensorProto.FLOAT16, TensorProto.FLOAT16)


def test_indices_into_a_table_are_not_cast() -> None:
    model = parsed("""
        g (int64[N] ids) => (float[N, 2] y) <float[3, 2] table = {1, 2, 3, 4, 5, 6}> {
            y = Gather(table, ids)
        }""")
    half = convert_to_half(model)
    assert types_of(half)["table"] == TensorProto.FLOAT16
    assert [node.op_type for node in half.graph.node] == ["Gather", "Cast"]


def test_weights_that_the_file_lists_among_its_inputs_too() -> None:
    """As files of IR version 3 must."""
    model = weighted(np.ones(4))
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))
    types_of(convert_to_half(model))


def test_all_weights_beyond_float16_are_named_with_their_largest_number() -> None:
    model = weighted(np.array([1, -7e4, np.inf, 2]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1e9], np.float32), "v"))
    with pytest.raises(OnnxError, match=r"w \(largest 7e\+04\), v \(largest 1e\+09\)"):
        convert_to_half(model)


def test_an_epsilon_that_would_become_zero_is_refused_and_a_small_weight_is_not() -> None:
    assert not constant(convert_to_half(weighted(np.full(4, 1e-12))), "w").any()
    model = weighted(np.ones(4))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(1e-12, np.float32), "w"))
    with pytest.raises(
        OnnxError, match=r"would become zero: w \(1e-12\), read by node `\w+` \(\w+\)"
    ):
        convert_to_half(model)


def test_numbers_that_normalisation_keeps_in_float32_may_be_beyond_float16() -> None:
    model = parsed("""
        g (float[N, 2] x) => (float[N, 2] y) <float[2] mean = {1e6, 1e-12}> {
            s = Sub(x, mean)
            y = Relu(s)
        }""")
    assert (
        constant(convert_to_half(model), "mean").tobytes()
        == np.array([1e6, 1e-12], np.float32).tobytes()
    )


def test_the_half_graph_computes_what_the_graph_does_but_for_rounding() -> None:
    """By ONNX's own evaluator: ONNX Runtime's CPU computes float16 operators in float32."""
    model = parsed(PIXELS)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)
    answers: list[Any] = []
    for graph in (model, convert_to_half(model)):
        feed: Any = {"x": images}
        answers += ReferenceEvaluator(graph).run(None, feed)
    wide, half = answers
    assert half.dtype == np.float32
    error = compare(half, wide.astype(np.float64)).rel_l2
    assert 0 < error < 4 * 2.0**-11  # of the image, the products, the sum, the output


def test_a_graph_that_decides_is_refused_by_name() -> None:
    model = parsed("""
        g (float[1] x, bool c) => (float[1] y) <float[1] w = {2}> {
            y = If (c) <
                then_branch = t () => (float[1] a) { a = Mul(x, w) },
                else_branch = e () => (float[1] b) { b = Add(x, w) }
            >
        }
    """)
    with pytest.raises(OnnxError, match=r"this one has If with graphs inside \('y'\): leave it"):
        convert_to_half(model)

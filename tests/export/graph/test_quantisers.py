"""What a graph's QuantizeLinear and DequantizeLinear say, however they say it."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgerep.export.graph.affine import dequantize_array, quantize_array
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.quantisers import quantisers_in
from zoo.quantised import Form, a_few_images, a_float_graph, quantised


def test_weights_activations_and_biases_are_told_apart() -> None:
    model = quantised(a_float_graph(), a_few_images(), Form(bias="int32", weights="pair"))
    found = {one.name: one for one in quantisers_in(GraphIndex(model.graph))}
    assert [name for name, one in found.items() if one.of_weight] == [
        "w1_Q", "w1_DQ", "b1_DQ", "w2_Q", "w2_DQ", "b2_DQ", "w3_Q", "w3_DQ", "b3_DQ",
    ]  # fmt: skip
    assert found["b1_DQ"].element == TensorProto.INT32
    assert {found[name].element for name in ("x_Q", "x_DQ", "w1_DQ")} == {TensorProto.INT8}
    assert (found["w1_DQ"].axis, found["w1_DQ"].has_axis, found["x_DQ"].has_axis) == (
        0,
        True,
        False,
    )


def test_what_is_not_written_is_what_onnx_says() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[2, 3] x) => (float[2, 3] y) {
            t = Identity (s)
            q = QuantizeLinear (x, t)
            y = DequantizeLinear (q, t)
        }""")
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "s"))
    quantize, dequantize = quantisers_in(GraphIndex(model.graph))
    assert quantize.element == dequantize.element == TensorProto.UINT8
    assert quantize.scale == dequantize.scale == 0.5
    assert not quantize.zero_given
    assert dequantize.zero is None


def test_arrays_are_quantised_as_onnx_runtime_does_it() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.standard_normal((3, 40)) * 9, np.full((3, 4), [[0.5, 1.5, 2.5, 300]])], 1
    )
    x = x.astype(np.float32)
    scale, zero = np.array([1, 0.3, 0.01], np.float32), np.array([0, 9, 200], np.uint8)
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=0),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=0)]  # fmt: skip
    kinds = {"x": TensorProto.FLOAT, "q": TensorProto.UINT8, "y": TensorProto.FLOAT}
    ends = [helper.make_tensor_value_info(n, kind, x.shape) for n, kind in kinds.items()]
    constants = [numpy_helper.from_array(a, n) for a, n in ((scale, "s"), (zero, "z"))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    levels, numbers = session.run(None, {"x": x})
    found = quantize_array(x, scale, zero, 0)
    assert np.array_equal(found, levels)
    assert np.array_equal(dequantize_array(found, scale, zero, 0), numbers)

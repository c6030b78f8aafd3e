"""Pairs that round by one scale and give back by another."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from edgerep.export.graph.odd_pairs import odd_pairs_in
from zoo.quantised import Form, a_few_images, a_float_graph, quantised

IMAGES = a_few_images()


@pytest.mark.parametrize("form", [Form(), Form("int32", "uint8", "pair"), Form(rows=False)])
def test_what_quantisers_write_belongs_together(form: Form) -> None:
    assert odd_pairs_in(quantised(a_float_graph(), IMAGES, form)) == ()


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [(1, np.array(0.5, np.float32), "gives back by scale 0.5"),
     (2, np.array(4, np.int8), "gives back by zero point 4 and not 0")],
)  # fmt: skip
def test_a_pair_of_two_scales_or_zero_points_is_named(
    at: int, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]], said: str
) -> None:
    model = quantised(a_float_graph(), IMAGES)
    node = next(n for n in model.graph.node if n.name == "b_DQ")
    model.graph.initializer.append(numpy_helper.from_array(value, "other"))
    node.input[at] = "other"
    (found,) = odd_pairs_in(model)
    assert said in found
    assert found.startswith("b_DQ")
    assert found.endswith("b_Q rounds")


def test_integers_may_be_pooled_between_the_two() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[1, 2, 4, 4] x) => (float[1, 2, 2, 2] y)
            <float s = {0.1}, float t = {0.2}, int8 z = {0}> {
            q = QuantizeLinear (x, s, z)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (q)
            y = DequantizeLinear (p, t, z)
        }""")
    (found,) = odd_pairs_in(model)
    assert "scale 0.2 and not 0.1" in found

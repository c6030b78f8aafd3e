"""The layers of a quantised graph as `inspect` shows them."""

from __future__ import annotations

import numpy as np
import pytest

from edgerep.bench.report.text.quantised_layers import quantised_lines, quantised_table
from edgerep.export.graph.quantised_layers import quantisation_in, quantised_layers
from edgerep.export.graph.unquantised import unquantised
from zoo.quantised import Form, a_few_images, a_float_graph, quantised

IMAGES = a_few_images()


def test_integers_scales_and_biases_of_every_layer() -> None:
    model = quantised(a_float_graph(), IMAGES, Form("int32", "uint8", "pair"))
    first, second, third = quantised_layers(model)
    assert (first.name, first.operator, first.bias) == ("a", "Conv", "int32")
    assert first.input is not None
    assert (first.input.type, first.input.count, first.input.symmetric) == ("uint8", 1, False)
    assert second.input is not None
    assert second.input.symmetric, "behind a Relu the least number is 0"
    assert third.weights is not None
    assert (third.weights.type, third.weights.count) == ("int8", 4)
    assert third.weights.smallest is not None
    assert third.weights.largest is not None
    assert 0 < third.weights.smallest < third.weights.largest


def test_a_layer_left_in_float_says_so_and_a_float_graph_has_none() -> None:
    mixed = quantised(a_float_graph(), IMAGES, Form(layers=("Conv",)))
    last = quantised_layers(mixed)[-1]
    assert (last.operator, last.input, last.weights, last.bias) == ("Gemm", None, None, "float32")
    assert quantisation_in(a_float_graph(), None) == []


def test_what_the_record_says_of_a_layer_stands_beside_it_and_the_worst_are_named() -> None:
    model = quantised(a_float_graph(), IMAGES)
    likeness = {"sqnr_db": 30.0, "worst_db": 30.0, "parts": 1, "agreement": 1.0}
    noted = {
        "chosen": "best", "images": 9, "held_out": 3, "kept": {}, "not_equalised": {},
        "candidates": [{"name": "plain", **likeness}, {"name": "best", **likeness}],
        "layers": [{"name": name, "operator": "Conv", "input_step": 0.1,
                    "sqnr_db": {"plain": 20.0, "best": best}}
                   for name, best in (("a", 40.0), ("c", 25.5))],
    }  # fmt: skip
    result = {"quantised_layers": quantisation_in(model, noted)}
    lines = quantised_lines(result, {"int8": noted})
    assert "3 of 3 layers have int8 weights and activations" in lines
    assert "the worst layers: c 25.5 dB, a 40.0 dB" in lines
    rows = quantised_table(result, {"int8": noted}).splitlines()
    assert len(rows) == 5
    assert rows[2].split()[-2:] == ["20.0", "40.0"]
    assert rows[4].split()[-2:] == ["-", "-"]


@pytest.mark.parametrize("form", [Form(), Form("int32", "uint8", "pair"), Form(rows=False)])
def test_without_its_rounding_a_graph_is_nearly_the_float_graph(form: Form) -> None:
    import onnxruntime

    plain = unquantised(quantised(a_float_graph(), IMAGES, form))
    assert not {node.op_type for node in plain.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    answers = []
    for model in (a_float_graph(), plain):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        answers.append(session.run(None, {"x": IMAGES})[0])
    wanted, found = answers
    assert 0 < np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()

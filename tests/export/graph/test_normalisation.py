"""An image's normalisation inside the graph: exact at the border, folded only where it may be."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import OnnxError, OptionError
from edgerep.export.graph.normalisation import fold_factor_in_place, prepend_normalisation_in_place

PIXELS = Preprocessing("uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MEAN_ONLY = Preprocessing("float", (0.5, 0.25, 0.125))
STD_ONLY = Preprocessing("float", (), (0.5,))
RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((2, 3, 3, 3)).astype(np.float32)
DECLARED = "float[N, 3, 5, 6] x"
CONV = "y = Conv <pads = [1, 1, 1, 1]> (x, w)"


def graph_of(body: str = CONV, inputs: str = DECLARED) -> onnx.ModelProto:
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g ({inputs}) => (float[N, 2, 5, 6] y) {{ {body} }}""")
    model.graph.initializer.append(numpy_helper.from_array(WEIGHT, "w"))
    return model


def images_for(preprocessing: Preprocessing) -> np.ndarray:
    if preprocessing.input == "uint8":
        return RNG.integers(0, 256, (2, 3, 5, 6), dtype=np.uint8)
    return RNG.random((2, 3, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("preprocessing", [PIXELS, MEAN_ONLY, STD_ONLY, Preprocessing("uint8")])
@pytest.mark.parametrize("fold", [True, False])
def test_the_graph_normalises_before_it_pads(preprocessing: Preprocessing, fold: bool) -> None:
    model = graph_of()
    if fold:
        assert fold_factor_in_place(model, preprocessing)
    prepend_normalisation_in_place(model, preprocessing, with_factor=not fold)
    onnx.checker.check_model(model, full_check=True)
    assert ("Mul" in {node.op_type for node in model.graph.node}) is not fold
    images = images_for(preprocessing)
    (found,) = ReferenceEvaluator(model).run(None, {"x": images})
    wanted = torch.nn.functional.conv2d(
        torch.from_numpy(preprocessing.apply(images)), torch.from_numpy(WEIGHT).double(), padding=1
    ).numpy()
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_pixels_are_declared_as_uint8_and_cast_once() -> None:
    model = graph_of()
    prepend_normalisation_in_place(model, PIXELS, with_factor=True)
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert [node.op_type for node in model.graph.node] == ["Cast", "Sub", "Mul", "Conv"]


def test_every_reader_of_the_image_gets_the_normalised_one() -> None:
    model = graph_of("a = Conv <pads = [1, 1, 1, 1]> (x, w)  "
                     "b = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Add(a, b)")  # fmt: skip
    prepend_normalisation_in_place(model, PIXELS, with_factor=True)
    assert [list(n.input) for n in model.graph.node if n.op_type == "Conv"] == [
        ["x_normalised", "w"], ["x_normalised", "w"],
    ]  # fmt: skip


@pytest.mark.parametrize("body", [
    "a = Conv <pads = [1, 1, 1, 1]> (x, w)  b = ReduceMean <keepdims = 1> (x)  y = Add(a, b)",
    "a = Conv <pads = [1, 1, 1, 1]> (x, w)  c = ReduceSum <keepdims = 1> (w)  y = Add(a, c)",
    "r = Relu(x)  y = Conv <pads = [1, 1, 1, 1]> (r, w)",
    "v = Relu(w)  y = Conv <pads = [1, 1, 1, 1]> (x, v)",
])  # fmt: skip
def test_the_factor_is_not_folded_where_something_else_would_change(body: str) -> None:
    model = graph_of(body)
    before = model.SerializeToString(deterministic=True)
    assert not fold_factor_in_place(model, PIXELS)
    assert model.SerializeToString(deterministic=True) == before


def test_the_factor_is_not_folded_into_a_grouped_convolution() -> None:
    model = graph_of("y = Conv <group = 3, pads = [1, 1, 1, 1]> (x, w)")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT[:, :1].repeat(3, 0), "w"))
    assert not fold_factor_in_place(model, PIXELS)


@pytest.mark.parametrize("declared", [
    "float[N, 3, 5, 6] x, float[N, 3, 5, 6] z", "float[N, 3] x",
])  # fmt: skip
def test_anything_but_one_image_is_refused_with_the_inputs_named(declared: str) -> None:
    with pytest.raises(OnnxError, match=r"one image input \[N, C, H, W\].*x"):
        prepend_normalisation_in_place(graph_of(inputs=declared), PIXELS, with_factor=True)


def test_a_graph_that_takes_pixels_has_its_preprocessing_already() -> None:
    model = graph_of()
    prepend_normalisation_in_place(model, PIXELS, with_factor=True)
    with pytest.raises(OnnxError, match="`x` is not float32: the graph already has"):
        prepend_normalisation_in_place(model, PIXELS, with_factor=True)


def test_a_mean_for_other_channels_is_refused() -> None:
    with pytest.raises(OptionError, match="mean has 2 values and the image 3 channels"):
        prepend_normalisation_in_place(
            graph_of(), Preprocessing("float", (0.1, 0.2)), with_factor=True
        )

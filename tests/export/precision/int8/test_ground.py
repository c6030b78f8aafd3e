"""Images and networks of which nothing can be learned."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.errors import DataError, EdgerepError, OnnxError
from edgerep.export.precision.int8.recipe import quantise

IMAGES = np.random.default_rng(0).standard_normal((8, 2, 4, 4)).astype(np.float32)


def _two_layers(first: NDArray[np.float32], bias: float = 0.0) -> onnx.ModelProto:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
        g (float[N, 2, 4, 4] x) => (float[N, 3, 4, 4] y) {
            a = Conv(x, w1, b1)
            b = Relu(a)
            y = Conv(b, w2, b2)
        }""")
    rng = np.random.default_rng(1)
    given = {
        "w1": first, "b1": np.full(3, bias), "w2": rng.standard_normal((3, 3, 1, 1)),
        "b2": np.array([0.5, -0.25, 3.0]),
    }  # fmt: skip
    tensors = (numpy_helper.from_array(a.astype(np.float32), name) for name, a in given.items())
    model.graph.initializer.extend(tensors)
    return model


@pytest.mark.parametrize(("images", "first", "error", "says"), [
    (np.repeat(IMAGES[:1], 8, 0), 1.0, DataError, "8 calibration images are one and the same"),
    (np.zeros_like(IMAGES), 1.0, DataError, "are one and the same"),
    (IMAGES[:1], 1.0, DataError, "1 is too few"),
    (IMAGES, np.nan, OnnxError, "layer .* gives NaN or infinity in float32"),
])  # fmt: skip
def test_what_tells_nothing_is_refused(
    images: Array, first: float, error: type[EdgerepError], says: str
) -> None:
    model = _two_layers(np.full((3, 2, 1, 1), first, np.float32))
    with pytest.raises(error, match=says):
        quantise(model, images)


def test_behind_a_tensor_that_is_always_zero_biases_are_what_they_were() -> None:
    model = _two_layers(np.ones((3, 2, 1, 1), np.float32), bias=-100.0)
    made, _ = quantise(model, IMAGES)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    (answers,) = session.run(None, {"x": IMAGES})
    assert np.abs(answers.mean((0, 2, 3)) - [0.5, -0.25, 3.0]).max() < 1e-3

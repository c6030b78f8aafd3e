from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgerep.artefacts.tensors import Array
from edgerep.errors import OnnxError
from edgerep.export.precision.activations import Activations, observe


def _model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _seen(images: Array, *, step: int = 4) -> dict[str, Activations]:
    def blocks() -> Iterator[tuple[Array]]:
        for start in range(0, len(images), step):
            yield (images[start : start + step],)

    model = _model(helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Relu", ["n"], ["y"]))
    return observe(model, blocks(), {"n": 1, "y": 1})


def _images(count: int = 12) -> Array:
    rng = np.random.default_rng(0)
    images: Array = rng.standard_normal((count, 3, 16, 16), np.float32)
    images *= np.array([1, 100, 1e-3], np.float32)[:, None, None]
    return images


def test_statistics_are_those_of_all_images_whatever_the_blocks() -> None:
    images = _images()
    wanted = -images.transpose(1, 0, 2, 3).reshape(3, -1)
    for step in (1, 4, 12):
        seen = _seen(images, step=step)["n"]
        np.testing.assert_array_equal(seen.low, wanted.min(1))
        np.testing.assert_array_equal(seen.high, wanted.max(1))
        np.testing.assert_allclose(seen.mean, wanted.mean(1, dtype=np.float64), rtol=1e-5)
        assert seen.count == wanted.shape[1]
        for share in (0.5, 0.99, 0.999, 1.0):
            exact = np.quantile(np.abs(wanted), share, axis=1)
            np.testing.assert_allclose(seen.quantile(share), exact, rtol=0.02)


def test_a_channel_that_is_scaled_has_scaled_statistics() -> None:
    images = _images()
    factors = np.array([3.7, 1e-4, 812.0])
    scaled = images * factors[:, None, None].astype(np.float32)
    one, other = _seen(images)["y"], _seen(scaled)["y"]
    np.testing.assert_allclose(other.quantile(0.999), one.quantile(0.999) * factors, rtol=1e-3)
    np.testing.assert_allclose(other.largest, one.largest * factors, rtol=1e-6)


def test_a_dead_channel_is_zero_and_infinity_is_noticed() -> None:
    images = np.abs(_images())  # their negative is dead behind the ReLU
    seen = _seen(images)["y"]
    assert not seen.largest.any()
    assert not seen.quantile(0.999).any()
    assert np.isinf(seen.tiniest).all()
    assert seen.finite
    images[3, 1, 2, 2] = np.inf
    assert not _seen(images)["n"].finite


def test_a_graph_that_cannot_be_run_is_refused_in_one_line() -> None:
    with pytest.raises(OnnxError, match="cannot run the graph that is measured"):
        observe(_model(helper.make_node("Nonsense", ["x"], ["y"])), [], {"y": 1})

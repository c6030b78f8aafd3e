from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from edgerep.export.precision.int8.patches import drawn_rows, second_moments
from edgerep.export.precision.layers import Layer, layers_in


def _layer(operator: str, weight: tuple[int, ...], source: list[int], **settings: object) -> Layer:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], name="n", **settings)],  # type: ignore[arg-type]
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, source)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(weight, np.float32), "w")],
    )
    (layer,) = layers_in(graph)
    return layer


@pytest.mark.parametrize(
    ("stride", "dilation", "pads", "groups"),
    [(1, 1, [1, 1, 1, 1], 1), (2, 1, [0, 1, 1, 2], 1), (1, 2, [2, 2, 2, 2], 1), (1, 1, [1] * 4, 4)],
)
def test_rows_are_what_the_kernel_is_multiplied_by(
    stride: int, dilation: int, pads: list[int], groups: int
) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 9, 8), np.float32)
    layer = _layer("Conv", (8, 4 // groups, 3, 3), [3, 4, 9, 8], strides=[stride] * 2,
                   dilations=[dilation] * 2, pads=pads, group=groups)  # fmt: skip
    found = drawn_rows(layer, x, (3, 3), 10_000, np.random.default_rng(0))
    top, left, bottom, right = pads
    padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    unfolded = torch.nn.functional.unfold(padded, 3, dilation, 0, stride)  # [N, C * 9, L]
    wanted = unfolded.reshape(3, groups, -1, unfolded.shape[2]).permute(1, 0, 3, 2)
    np.testing.assert_array_equal(found, wanted.reshape(groups, -1, wanted.shape[3]).numpy())


def test_drawn_positions_give_the_moments_of_all() -> None:
    x = np.random.default_rng(0).standard_normal((40, 2, 60, 60), np.float32)
    layer = _layer("Conv", (4, 2, 3, 3), [40, 2, 60, 60], pads=[1] * 4)
    blocks = [x[:13], x[13:]]
    few = second_moments(layer, blocks, (3, 3), seed=0)  # 20,000 of 144,000
    every = drawn_rows(layer, x, (3, 3), 10_000, np.random.default_rng(0))[0]
    np.testing.assert_allclose(few[0], every.T @ every / len(every), atol=0.05)


def test_a_matrix_and_a_transposed_convolution_are_asked_by_position() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 6), np.float32)
    matrix = _layer("MatMul", (6, 3), [2, 5, 6])
    rows = drawn_rows(matrix, x, (), 100, np.random.default_rng(0))
    np.testing.assert_array_equal(rows, x.reshape(1, 10, 6))
    image = np.random.default_rng(0).standard_normal((2, 4, 3, 3), np.float32)
    transposed = _layer("ConvTranspose", (4, 3, 2, 2), [2, 4, 3, 3], strides=[2, 2], group=2)
    rows = drawn_rows(transposed, image, (), 100, np.random.default_rng(0))
    wanted = image.transpose(0, 2, 3, 1).reshape(18, 2, 2).transpose(1, 0, 2)
    np.testing.assert_array_equal(rows, wanted)

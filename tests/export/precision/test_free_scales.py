from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import edgerep
from edgerep.artefacts.tensors import Array
from edgerep.errors import OnnxError
from edgerep.export.precision.free_scales import free_scales
from edgerep.export.precision.rescaling import rescaled
from edgerep.export.precision.running import ModelRun
from zoo.exported import EXPORTED


def _answers(model: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    names = [value.name for value in model.graph.output]
    return list(ModelRun(model, names, threads=1).run(feed).values())


def _feed(model: onnx.ModelProto) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        value.name: rng.standard_normal(
            [d.dim_value or 2 for d in value.type.tensor_type.shape.dim], np.float32
        )
        for value in model.graph.input
    }


def _exported(name: str, folder: str) -> onnx.ModelProto:
    entry = EXPORTED[name]
    fused = edgerep.fuse(entry.made(), inputs=(torch.randn(2, *entry.shape),), certify=False)
    graph = edgerep.export_onnx(
        fused, f"{folder}/net.onnx", input_shapes=[entry.shape], batch=(1, 2, 4)
    )
    return onnx.load(graph.path)


# Chains, residual sums, gates, concatenations, shuffles, grouped convolutions; and how many scales
# each leaves open.
@pytest.mark.parametrize(
    ("name", "least"),
    [("nanodet", 2000), ("unet", 390), ("yolov6", 700)],
)
def test_a_rescaled_network_computes_the_same(
    name: str, least: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = _exported(name, str(tmp_path_factory.mktemp("net")))
    feed = _feed(model)
    free = free_scales(model)
    assert free.count > least
    rng = np.random.default_rng(1)
    scales = np.exp(rng.uniform(-3, 3, free.count))
    scales[0] = 1
    before = _answers(model, feed)
    for found, wanted in zip(_answers(rescaled(model, free, scales), feed), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max(), rtol=0)
    powers = np.exp2(rng.integers(-8, 8, free.count).astype(np.float64))
    powers[0] = 1
    for found, wanted in zip(_answers(rescaled(model, free, powers), feed), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


def _graph(nodes: list[onnx.NodeProto], constants: dict[str, Array]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _weights(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def _between(*nodes: onnx.NodeProto, **constants: Array) -> int:
    """How many scales are open where `nodes` stand between `a` and `b` of two convolutions."""
    model = _graph(
        [
            helper.make_node("Conv", ["x", "v"], ["a"], pads=[1] * 4),
            *nodes,
            helper.make_node("Conv", ["b", "w"], ["y"]),
        ],
        {"v": _weights(4, 3, 3, 3), "w": _weights(2, 4, 1, 1), **constants},
    )
    free = free_scales(model)
    scales = np.exp(np.random.default_rng(0).uniform(-2, 2, free.count))
    scales[0] = 1
    feed = _feed(model)
    (wanted,), (found,) = _answers(model, feed), _answers(rescaled(model, free, scales), feed)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    return free.count - 1


def _node(kind: str, inputs: str, output: str = "b", **settings: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(","), [output], **settings)


_ONE, _SIX, _ZERO = (np.array(value, np.float32) for value in (1, 6, 0))
_CHANNELS = np.ones((4, 1, 1), np.float32)


def test_what_is_homogeneous_hands_scales_on() -> None:
    assert _between(_node("Relu", "a")) == 4
    assert _between(_node("LeakyRelu", "a", alpha=0.1)) == 4
    assert _between(_node("PRelu", "a,s"), s=0.2 * _CHANNELS) == 4
    assert _between(_node("Clip", "a,zero"), zero=_ZERO) == 4
    assert _between(_node("MaxPool", "a", kernel_shape=[2, 2])) == 4
    assert _between(_node("AveragePool", "a", kernel_shape=[2, 2], pads=[1] * 4)) == 4
    assert _between(_node("Add", "a,c"), c=_weights(4, 1, 1)) == 4
    assert _between(_node("Sub", "c,a"), c=_weights(4, 1, 1)) == 4
    assert _between(_node("Mul", "a,c"), c=_weights(4, 1, 1)) == 4
    assert _between(_node("Add", "a,a")) == 4
    assert _between(
        _node("Sigmoid", "x", "t"), _node("ReduceMean", "t,all", "g"), _node("Mul", "a,g"),
        all=np.array([1, 2, 3]),
    ) == 4  # fmt: skip


def test_what_is_not_homogeneous_keeps_them() -> None:
    assert _between(_node("Clip", "a,zero,six"), zero=_ZERO, six=_SIX) == 0
    assert _between(_node("Clip", "a,one"), one=_ONE) == 0
    assert _between(_node("Sigmoid", "a", "t"), _node("Mul", "a,t")) == 0
    assert _between(_node("Mul", "a,a")) == 0
    assert _between(_node("Max", "a,one"), one=_ONE) == 0
    assert _between(_node("Pad", "a,pads,one"), pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
                    one=_ONE) == 0  # fmt: skip


def test_a_shuffle_and_a_slice_of_channels_are_followed() -> None:
    shuffle = [
        _node("Reshape", "a,split", "r"),
        _node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]),
        _node("Reshape", "t,join"),
    ]
    split, join = np.array([-1, 2, 2, 8, 8]), np.array([-1, 4, 8, 8])
    assert _between(*shuffle, split=split, join=join) == 4
    halves = [
        helper.make_node("Split", ["a"], ["l", "r"], axis=1, num_outputs=2),
        _node("Concat", "r,l", axis=1),
    ]
    assert _between(*halves) == 4


def test_a_sum_of_two_layers_gives_both_the_same_scales() -> None:
    assert _between(_node("Conv", "x,v", "c", pads=[1] * 4), _node("Add", "a,c")) == 4


def test_weights_that_two_layers_share_are_rescaled_for_each() -> None:
    assert _between(_node("Conv", "a,s", "t"), _node("Relu", "t", "u"), _node("Conv", "u,s"),
                    s=_weights(4, 4, 1, 1)) == 12  # fmt: skip


def test_the_biases_of_a_product_of_matrices_keep_their_shape() -> None:
    model = _graph(
        [
            _node("MatMul", "x,v", "m"), _node("Add", "m,c", "a"), _node("Relu", "a", "b"),
            _node("MatMul", "b,w", "y"),
        ],
        {"v": _weights(8, 4), "c": _weights(4), "w": _weights(4, 2)},
    )  # fmt: skip
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [4]))
    free = free_scales(model)
    assert free.count == 5
    changed = rescaled(model, free, np.array([1.0, 2, 4, 8, 16]))
    onnx.shape_inference.infer_shapes(changed, strict_mode=True, data_prop=True)
    assert changed.graph.initializer[1].dims == [4]
    feed = _feed(model)
    np.testing.assert_array_equal(_answers(changed, feed)[0], _answers(model, feed)[0])


def test_what_must_stay_says_why() -> None:
    model = _graph(
        [_node("Conv", "x,v", "a"), _node("Sigmoid", "a", "b"), _node("Conv", "b,w", "y")],
        {"v": _weights(4, 3, 3, 3), "w": _weights(2, 4, 1, 1)},
    )
    fixed = free_scales(model).fixed
    assert "Sigmoid" in fixed["a"]
    assert fixed["y"] == "it is an output of the graph"


def test_scales_are_positive() -> None:
    model = _graph([_node("Conv", "x,v", "y")], {"v": _weights(4, 3, 3, 3)})
    with pytest.raises(ValueError, match="above 0"):
        rescaled(model, free_scales(model), np.zeros(1))


def test_shapes_that_contradict_the_operators_are_refused() -> None:
    model = _graph(
        [_node("Conv", "x,v", "a"), _node("Conv", "a,w", "y")],
        {"v": _weights(4, 3, 3, 3), "w": _weights(2, 4, 1, 1)},
    )
    wrong = helper.make_tensor_value_info("v", TensorProto.FLOAT, [4, 3, 3, 5])
    model.graph.value_info.append(wrong)
    with pytest.raises(OnnxError, match="Export it again"):
        free_scales(model)

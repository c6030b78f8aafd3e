"""Scales between layers keep what a chain computes; dead identities are one channel and one tap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from int8.stress import with_dead_identities, with_random_scales

CHANNELS = 8


def chain(*, groups: int = 1, last: str = "Relu") -> onnx.ModelProto:
    """Three convolutions (no bias, bias, bias and groups), means over positions, a Gemm."""
    rng = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    weights = [
        tensor("w0", CHANNELS, 3, 3, 3),
        tensor("w1", CHANNELS, CHANNELS, 3, 3),
        tensor("b1", CHANNELS),
        tensor("w2", CHANNELS, CHANNELS // groups, 3, 3),
        tensor("b2", CHANNELS),
        tensor("w3", 5, CHANNELS),
        tensor("b3", 5),
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
    ]
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["c0"], pads=pads),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], pads=pads),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=pads, group=groups),
        helper.make_node(last, ["c2"], ["r2"]),
        helper.make_node("ReduceMean", ["r2", "axes"], ["m"], keepdims=0),
        helper.make_node("Gemm", ["m", "w3", "b3"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
        weights,
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def answers(model: onnx.ModelProto, folder: Path) -> Array:
    path = folder / "m.onnx"
    onnx.save(model, path)
    images = np.random.default_rng(1).standard_normal((4, 3, 6, 6)).astype(np.float32)
    with OnnxRuntimeSession(path, optimization="disabled") as session:
        return session.run(images)[0]


@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
@pytest.mark.parametrize("decades", [1, 2])
def test_scales_keep_the_function(groups: int, decades: int, tmp_path: Path) -> None:
    model = chain(groups=groups)
    made = with_random_scales(model, decades)
    expected, got = answers(model, tmp_path), answers(made, tmp_path)
    assert np.abs(got - expected).max() < 2e-5 * np.abs(expected).max()
    before, after = weights_of(model), weights_of(made)
    spread = np.abs(after["w1"] / before["w1"])
    assert spread.max() / spread.min() > 10**decades  # there was something to keep it against
    assert not np.array_equal(weights_of(with_random_scales(model, decades, seed=1))["w1"],
                              after["w1"])  # fmt: skip


def test_a_dead_identity_is_one_channel_in_and_its_own_tap(tmp_path: Path) -> None:
    model = chain()
    made = with_dead_identities(model, 1 / 100)
    before, after = weights_of(model), weights_of(made)
    with np.errstate(invalid="ignore"):
        rows = after["w0"] / before["w0"]
    dead = np.flatnonzero(rows[:, 0, 0, 0] < 0.5)
    assert len(dead) == 1  # 4 % of 8, and one at least
    np.testing.assert_allclose(rows[dead], 0.01, rtol=1e-5)
    taps = after["w1"] / before["w1"]
    channel = int(dead[0])
    assert taps[channel, channel, 1, 1] in (
        pytest.approx(100, rel=1e-5),
        pytest.approx(1, rel=1e-5),  # times 1/100, where it is dead for the next layer too
    )
    outside = np.abs(after["w1"][:, channel]).sum() / np.abs(before["w1"][:, channel]).sum()
    assert outside < 10  # no other tap was raised
    expected, got = answers(model, tmp_path), answers(made, tmp_path)
    assert np.abs(got - expected).max() > 1e-3 * np.abs(expected).max()


def test_only_chains_are_stressed() -> None:
    with pytest.raises(ValueError, match="is a Sigmoid: the graph is no chain"):
        with_random_scales(chain(last="Sigmoid"), 1)

"""Graphs are made to fit into float16, exactly where that can be, and else kept wide by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.bench.report.text.ranges import range_lines, range_table
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import MissingDependencyError, OptionError
from edgerep.export.graph.onnx_file import Graph, open_graph, read_model
from edgerep.export.precision import float16
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.export.precision.float16_scales import float16_scales
from edgerep.export.precision.free_scales import free_scales
from edgerep.export.precision.ranges import measure_ranges
from edgerep.export.precision.rescaling import rescaled
from edgerep.export.precision.running import ModelRun

DEMO = Path(__file__).parents[3] / "docs" / "demo"


class Chain(nn.Module):
    """Three layers whose scales cancel: what lies between them is large, or small."""

    def __init__(self, scale: float, between: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.up, self.act = nn.Conv2d(3, 8, 3), between()
        self.side = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 5, 1, bias=False)
        with torch.no_grad():
            for parameter in (*self.up.parameters(), self.side.get_parameter("bias")):
                parameter.mul_(scale)
            self.down.weight /= scale

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.up(x))
        y = y + self.act(self.side(y))
        z: Tensor = self.down(y).mean((2, 3))
        return z


def network(scale: float, between: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    torch.manual_seed(0)
    return Chain(scale, between).eval()


def made(module: nn.Module, path: Path, **more: Any) -> Graph:
    return edgerep.export_onnx(module, path, size=16, precision="fp16", **more)


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_a_chain_is_rescaled_and_agrees_everywhere(scale: float, tmp_path: Path) -> None:
    graph = made(network(scale), tmp_path / "a.onnx", batch=(1, 2, 3))
    note = graph.options["range"]
    assert note["kept_fp32"] == []
    assert note["warnings"] == []
    assert note["rescaled"]["channels"]
    largest = max(max(-one["low"], one["high"]) for one in note["layers"])
    assert 0.1 < largest <= 4096
    single = made(network(scale), tmp_path / "b.onnx")
    package = edgerep.export_coreml(single, tmp_path / "a.mlpackage")
    report = edgerep.verify(network(scale), [graph, package])
    report.require()
    assert all(one.passed for one in report.artefacts[0].emulated)
    assert len(report.artefacts[0].emulated) == 2


def answers(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (name,) = (value.name for value in model.graph.output)
    result: np.ndarray = ModelRun(model, [name]).run({model.graph.input[0].name: x})[name]
    return result


def test_rescaling_by_powers_of_two_changes_no_bit_in_float32(tmp_path: Path) -> None:
    graph = edgerep.export_onnx(network(1e6), tmp_path / "a.onnx", size=16)
    model = read_model(graph.path)
    free = free_scales(model)
    scales = float16_scales(free, measure_ranges(model, graph.inputs, None, free=free))
    assert (scales != 1).sum() >= 8
    assert (np.log2(scales) % 1 == 0).all()
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert answers(rescaled(model, free, scales), x).tobytes() == answers(model, x).tobytes()


def test_what_cannot_be_rescaled_stays_float32_and_is_named(tmp_path: Path) -> None:
    graph = made(network(1e6, nn.SiLU), tmp_path / "a.onnx")
    note = graph.options["range"]
    operators = {n.name: n.op_type for n in onnx.load(graph.path).graph.node}
    kept = {operators[name] for name in note["kept_fp32"]}
    assert "Conv" in kept
    assert "ReduceMean" not in kept
    assert any(line.startswith("kept in float32: ") for line in range_lines(graph.options))
    edgerep.verify(network(1e6, nn.SiLU), [graph]).require()
    assert open_graph(graph.path).precision == "fp16"


class Fixed(nn.Module):
    """A large tensor that a tanh keeps from being rescaled, and that is handed on to a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.pool = nn.MaxPool2d(2)
        with torch.no_grad():
            self.up.weight *= 1e6
            self.down.weight /= 1e6

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x)
        z: Tensor = self.down(self.pool(y.relu())).mean((2, 3)) + y.tanh().mean((2, 3))[:, :4]
        return z


def test_large_numbers_that_are_handed_on_stay_float32_up_to_the_layer_that_takes_them(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    module = Fixed().eval()
    graph = made(module, tmp_path / "a.onnx")
    operators = {n.name: n.op_type for n in onnx.load(graph.path).graph.node}
    kept = [operators[name] for name in graph.options["range"]["kept_fp32"]]
    assert sorted(kept) == ["Conv", "Conv", "MaxPool", "Relu", "Tanh"]
    edgerep.verify(module, [graph]).require()


def test_calibration_images_say_what_generated_ones_do_not(tmp_path: Path) -> None:
    images = 3e4 * np.random.default_rng(0).random((6, 3, 16, 16), np.float32)
    plain = made(network(1.0), tmp_path / "a.onnx").options["range"]
    told = made(network(1.0), tmp_path / "b.onnx", calibration=images).options["range"]
    assert (plain["measured_on"], told["measured_on"]) == ("generated probes", "calibration images")
    assert told["count"] == 6
    assert plain["rescaled"]["channels"] == 0
    assert told["rescaled"]["channels"] > 0
    assert max(one["before"] for one in told["layers"]) > 1e4


def test_preprocessing_stands_in_front_of_what_is_measured(tmp_path: Path) -> None:
    preprocessing = Preprocessing("uint8", (0.5,), (1e-4,))
    graph = made(network(1.0), tmp_path / "a.onnx", preprocessing=preprocessing)
    note = graph.options["range"]
    assert note["rescaled"]["channels"] > 0  # (1 - 0.5) / 1e-4 goes into the first layer
    edgerep.verify(network(1.0), [graph]).require()


@pytest.mark.parametrize("asked", ["side", "conv2d_1", "node_conv2d_1"])
def test_layers_are_kept_by_hand(asked: str, tmp_path: Path) -> None:
    graph = made(network(1.0), tmp_path / "a.onnx", keep_fp32=[asked])
    assert graph.options["range"]["kept_fp32"] == ["node_conv2d_1"]
    types = {t.name: t.data_type for t in onnx.load(graph.path).graph.initializer}
    assert types["side.weight"] == onnx.TensorProto.FLOAT
    assert types["up.weight"] == types["down.weight"] == onnx.TensorProto.FLOAT16
    edgerep.verify(network(1.0), [graph]).require()


def test_a_name_that_is_no_layer_is_refused_with_those_that_are_near(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no node 'sides'.* is it side"):
        made(network(1.0), tmp_path / "a.onnx", keep_fp32=["sides"])
    with pytest.raises(OptionError, match="where all do"):
        edgerep.export_onnx(network(1.0), tmp_path / "a.onnx", size=16, keep_fp32=["side"])


def test_what_comes_near_the_limit_is_warned_of(tmp_path: Path) -> None:
    note = made(network(7e3, nn.SiLU), tmp_path / "a.onnx").options["range"]
    near = [one for one in note["layers"] if 16376 < max(-one["low"], one["high"]) < 32752]
    assert near
    assert [w for w in note["warnings"] if "of what float16 holds" in w]
    assert any(line.startswith("warning: ") for line in range_lines({"range": note}))


def test_what_is_too_small_for_all_digits_is_warned_of(tmp_path: Path) -> None:
    note = made(network(1e-5, nn.SiLU), tmp_path / "a.onnx").options["range"]
    assert [w for w in note["warnings"] if "below 6.1e-5" in w]


def test_without_a_runtime_nothing_is_measured_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*given: object, **more: object) -> None:
        raise MissingDependencyError("onnxruntime", "bench")

    monkeypatch.setattr(float16, "measure_ranges", missing)
    graph = made(network(1.0), tmp_path / "a.onnx", keep_fp32=["side"])
    note = graph.options["range"]
    assert note["measured_on"] is None
    assert note["kept_fp32"] == ["node_conv2d_1"]
    assert "not measured" in range_lines(graph.options)[0]
    assert range_table(graph.options) == ""


def test_a_trained_network_stressed_to_overflow_agrees(tmp_path: Path) -> None:
    """Channels between all layers are multiplied by 10² to 10⁶, exactly undone behind them."""
    model = edgerep.load(DEMO / "digits-repvgg.pth")
    graph = edgerep.export_onnx(edgerep.fuse(model), tmp_path / "a.onnx", size=32)
    onnx_model = read_model(graph.path)
    free = free_scales(onnx_model)
    rng = np.random.default_rng(0)
    stress = 10.0 ** -rng.uniform(2, 6, free.count)
    stress[0] = 1.0
    stressed = rescaled(onnx_model, free, stress)
    onnx.save(stressed, tmp_path / "stressed.onnx")
    there = open_graph(tmp_path / "stressed.onnx")
    adapted = adapt_onnx(there, tmp_path / "half.onnx", precision="fp16")
    assert adapted.options["range"]["kept_fp32"] == []
    package = edgerep.export_coreml(adapted, tmp_path / "half.mlpackage")
    report = edgerep.verify(model, [adapted, package])
    report.require()
    assert all(one.passed for one in report.artefacts[0].emulated)

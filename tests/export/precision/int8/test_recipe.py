"""The whole recipe on small networks: chains, residual sums, branches, matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import edgerep
from edgerep.artefacts.tensors import Array
from edgerep.errors import DataError, OptionError, ParityError
from edgerep.export.precision.free_scales import free_scales
from edgerep.export.precision.int8.budget import Budget
from edgerep.export.precision.int8.findings import Int8Findings
from edgerep.export.precision.int8.recipe import Recipe, quantise
from edgerep.export.precision.rescaling import rescaled
from edgerep.export.precision.running import ModelRun

IMAGES = np.random.default_rng(5).standard_normal((40, 3, 16, 16), np.float32)


class _Mixed(nn.Module):
    """Residual sums, a concatenation, depthwise and transposed convolutions, SiLU, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.joined = nn.Conv2d(16, 8, 3, 1, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.last = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = torch.relu(x + self.point(torch.relu(self.depthwise(x))))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        z = nn.functional.silu(self.joined(torch.cat([x, y], 1)))
        result: torch.Tensor = self.last(torch.relu(self.up(z)).mean((2, 3)))
        return result


def _chain() -> nn.Module:
    layers: list[nn.Module] = []
    for source, made, stride in ((3, 12, 2), (12, 12, 1), (12, 16, 2), (16, 16, 1)):
        layers += [nn.Conv2d(source, made, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 6))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, onnx.ModelProto]:
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, build in (("chain", _chain), ("mixed", _Mixed)):
        torch.manual_seed(3)
        path: Path = folder / f"{name}.onnx"
        edgerep.export_onnx(build().eval(), path, size=16, batch=(1, 4, 8))
        found[name] = onnx.load(path)
    return found


def _answers(model: onnx.ModelProto, images: Array = IMAGES) -> Array:
    run = ModelRun(model, [model.graph.output[0].name], threads=1)
    return run.run({run.inputs[0]: images})[model.graph.output[0].name]


def _decibels(found: Array, wanted: Array) -> float:
    """Signal to noise of what changes from image to image: untrained networks say much the same."""
    signal = wanted - wanted.mean(0)
    return float(10 * np.log10((signal**2).sum() / ((found - wanted) ** 2).sum()))


def _quantised(
    model: onnx.ModelProto, recipe: Recipe | None = None, images: Array = IMAGES
) -> tuple[onnx.ModelProto, Int8Findings]:
    return quantise(model, images, recipe=recipe or Recipe(threads=1))


@pytest.mark.parametrize(("name", "by"), [("chain", 2), ("mixed", 1)])
def test_the_recipe_is_better_than_plain(
    name: str, by: float, models: dict[str, onnx.ModelProto]
) -> None:
    made, findings = _quantised(models[name])
    onnx.checker.check_model(made, full_check=True)
    wanted = _answers(models[name])
    plain, _ = _quantised(models[name], Recipe(without=("equalisation", "rounding", "bias")))
    assert _decibels(_answers(made), wanted) > _decibels(_answers(plain), wanted) + by
    assert findings.chosen != "plain"
    assert findings.likeness.sqnr_db == max(c.likeness.sqnr_db for c in findings.candidates)
    assert findings.images + findings.held_out == len(IMAGES)


def test_every_layer_is_in_eight_bits_and_its_biases_in_float(
    models: dict[str, onnx.ModelProto],
) -> None:
    made, findings = _quantised(models["mixed"])
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    makers = {name: node for node in made.graph.node for name in node.output}
    layers = [n for n in made.graph.node if n.op_type in ("Conv", "ConvTranspose", "Gemm")]
    assert len(layers) == len(findings.layers) == 7
    for node in layers:
        weight, source = makers[node.input[1]], makers[node.input[0]]
        assert weight.op_type == source.op_type == "DequantizeLinear"
        assert numpy_helper.to_array(stored[weight.input[0]]).dtype == np.int8
        assert not numpy_helper.to_array(stored[weight.input[2]]).any()
        assert numpy_helper.to_array(stored[node.input[2]]).dtype == np.float32


# What the network arrives with is a matter of how it was trained; what it becomes is not.
@pytest.mark.parametrize("seed", [0, 1])
def test_the_result_does_not_depend_on_the_scales_of_channels(
    seed: int, models: dict[str, onnx.ModelProto]
) -> None:
    model = models["chain"]
    free = free_scales(model)
    scales = np.exp(np.random.default_rng(seed).uniform(-4.6, 4.6, free.count))  # 10^-2 to 10^2
    scales[0] = 1
    wanted = _answers(model)
    as_trained = _decibels(_answers(_quantised(model)[0]), wanted)
    stressed = rescaled(model, free, scales)
    assert abs(_decibels(_answers(_quantised(stressed)[0]), wanted) - as_trained) < 1
    plain, _ = _quantised(stressed, Recipe(without=("equalisation", "rounding", "bias")))
    assert _decibels(_answers(plain), wanted) < 10


def test_each_stage_can_be_left_out(models: dict[str, onnx.ModelProto]) -> None:
    model = models["chain"]
    names = {
        without: [c.name for c in _quantised(model, Recipe(without=without))[1].candidates]
        for without in ((), ("equalisation",), ("rounding",), ("bias",))
    }
    assert any("equalised" in name and "rounding + bias" in name for name in names[()])
    assert names[("equalisation",)] == ["plain", "rounding + bias"]
    assert not any("rounding" in name for name in names[("rounding",)])
    assert not any("bias" in name for name in names[("bias",)])


def test_bias_correction_takes_the_mean_error_back(models: dict[str, onnx.ModelProto]) -> None:
    model = models["mixed"]
    wanted = _answers(model)
    with_bias, _ = _quantised(model, Recipe(levels=15))
    without, _ = _quantised(model, Recipe(levels=15, without=("bias",)))
    off = [np.abs((_answers(made) - wanted).mean(0)).mean() for made in (with_bias, without)]
    assert off[0] < 0.7 * off[1]


def test_a_budget_keeps_the_layers_that_matter_in_float32(
    models: dict[str, onnx.ModelProto],
) -> None:
    model = models["chain"]
    _, findings = _quantised(model, Recipe(levels=15))
    reached = findings.likeness.worst_db
    made, kept = _quantised(model, Recipe(levels=15, budget=Budget(min_sqnr=reached + 2)))
    assert kept.likeness.worst_db >= reached + 2
    assert 1 <= len(kept.kept) <= 2
    assert set(kept.kept.values()) == {"the budget needs it"}
    assert len(kept.layers) + len(kept.kept) == len(findings.layers)
    floats = [n for n in made.graph.node if n.op_type in ("Conv", "Gemm")
              and not n.input[1].endswith("_dequantized")]  # fmt: skip
    assert len(floats) == len(kept.kept)


def test_a_budget_that_cannot_be_kept_says_by_how_much(models: dict[str, onnx.ModelProto]) -> None:
    with pytest.raises(ParityError, match=r"2 of 5 layers in floating point.* 90 are wanted"):
        _quantised(models["chain"], Recipe(budget=Budget(min_sqnr=90)))


def test_only_one_size_of_batch_and_few_images(tmp_path: Path) -> None:
    torch.manual_seed(3)
    edgerep.export_onnx(_chain().eval(), tmp_path / "a.onnx", size=16, batch=4)
    model = onnx.load(tmp_path / "a.onnx")
    made, findings = quantise(model, IMAGES[:11], batch=4, recipe=Recipe(threads=1))
    assert findings.images + findings.held_out == 11
    assert _decibels(_answers(made, IMAGES[:4]), _answers(model, IMAGES[:4])) > 15
    with pytest.raises(DataError, match="256 or more"):
        quantise(model, IMAGES[:1], batch=4)


def test_a_number_that_is_no_budget_is_refused(models: dict[str, onnx.ModelProto]) -> None:
    with pytest.raises(OptionError, match="is no layer"):
        _quantised(models["chain"], Recipe(keep=("nothing",)))


def test_where_no_scale_is_open_steps_alone_are_searched(tmp_path: Path) -> None:
    torch.manual_seed(3)
    layers = (nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.SiLU())
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6))
    edgerep.export_onnx(net.eval(), tmp_path / "a.onnx", size=16, batch=(1, 4, 8))
    _, findings = _quantised(onnx.load(tmp_path / "a.onnx"))
    assert findings.equalised == 0
    assert not any("equalised" in one.name for one in findings.candidates)
    assert any("rounding + bias" in one.name for one in findings.candidates)

"""Averaged weights are found in every layout that trainers use, and what was taken is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import edgerep
from edgerep.checkpoints.reading import Checkpoint, read_checkpoint
from edgerep.errors import CheckpointError
from edgerep.networks.network import origin_of
from zoo.wrapped import plain

Table = dict[str, Tensor]


def weights(value: float) -> Table:
    """A table of `plain()` in which every weight has one value, and every statistic another."""
    return {
        key: torch.full_like(tensor, value if key in PARAMETERS else 10 * value)
        for key, tensor in plain().state_dict().items()
    }


PARAMETERS = [key for key, _ in plain().named_parameters()]
RAW, AVERAGE = weights(1), weights(2)
LIST = [AVERAGE[key] for key in PARAMETERS]
HALF = {key: AVERAGE[key] for key in PARAMETERS}  # without the statistics of the BatchNorm
HALF_FULL = {**RAW, **HALF}


def under(prefix: str, table: Mapping[str, Tensor]) -> Table:
    return {f"{prefix}{key}": tensor for key, tensor in table.items()}


def averaged_model() -> Table:
    average = AveragedModel(plain(), use_buffers=True)
    average.module.load_state_dict(AVERAGE)
    return average.state_dict()


# What a trainer saves, what is to be read of it, and a part of what is said.
LAYOUTS: Mapping[str, tuple[Callable[[], Any], Table, str]] = {
    "timm": (lambda: {"state_dict": RAW, "state_dict_ema": AVERAGE}, AVERAGE, "'state_dict_ema'"),
    "torchvision": (
        lambda: {"model": RAW, "model_ema": averaged_model(), "epoch": 3}, AVERAGE, "'model_ema'",
    ),
    "averaged model alone": (averaged_model, AVERAGE, "'n_averaged', a counter"),
    "BasicSR": (lambda: {"params": RAW, "params_ema": AVERAGE}, AVERAGE, "left aside: params"),
    "RT-DETR": (
        lambda: {"model": RAW, "ema": {"module": under("module.", AVERAGE), "updates": 5}},
        AVERAGE, "'ema'; left aside: model",
    ),
    "pycls": (lambda: {"model_state": RAW, "ema_state": AVERAGE}, AVERAGE, "'ema_state'"),
    "StyleGAN": (lambda: {"g": RAW, "d": {"w": torch.ones(3)}, "g_ema": AVERAGE}, AVERAGE, "g_ema"),
    "camel case": (lambda: {"net": RAW, "netEMA": AVERAGE}, AVERAGE, "'netEMA'"),
    "averaged_model": (lambda: {"net": RAW, "averaged_model": AVERAGE}, AVERAGE, "averaged_model"),
    "swa": (lambda: {"state_dict": RAW, "swa_state_dict": AVERAGE}, AVERAGE, "swa_state_dict"),
    "DINO": (
        lambda: {"student": under("module.", RAW), "teacher": AVERAGE, "optimizer": {}},
        AVERAGE, "'teacher'; left aside: student",
    ),
    "a teacher of another kind": (
        lambda: {"student": RAW, "teacher": {**AVERAGE, "more": torch.ones(3)}},
        RAW, "'teacher' is another network",
    ),
    "mmengine": (
        lambda: {"meta": {}, "state_dict": AVERAGE, "ema_state_dict": under("module.", RAW)},
        AVERAGE, "'state_dict'; left aside: ema_state_dict",
    ),
    "mmcv": (
        lambda: AVERAGE | {f"ema_{k.replace('.', '_')}": RAW[k] for k in PARAMETERS},
        AVERAGE, "mmcv swaps the two",
    ),
    "Lightning's WeightAveraging": (
        lambda: {
            "state_dict": AVERAGE, "current_model_state": RAW,
            "averaging_state": {"n_averaged": torch.tensor(4)},
        },
        AVERAGE, "'state_dict'; left aside: current_model_state",
    ),
    "Lightning's SWA": (
        lambda: {
            "state_dict": RAW,
            "callbacks": {"StochasticWeightAveraging": {"average_model_state": AVERAGE}},
        },
        AVERAGE, "callbacks: StochasticWeightAveraging",
    ),
    "a Lightning callback": (
        lambda: {
            "state_dict": under("model.", RAW),
            "callbacks": {"EMACallback{'decay': 0.9}": {"ema_state_dict": under("model.", HALF)}},
        },
        HALF_FULL, "callbacks: EMACallback",
    ),
    "NanoDet": (
        lambda: {"state_dict": under("model.", RAW) | under("avg_model.", AVERAGE)},
        AVERAGE, "from under 'avg_model.'; left aside: the raw weights under 'model.'",
    ),
    "ema-pytorch": (
        lambda: under("online_model.", RAW) | under("ema_model.", AVERAGE)
        | {"initted": torch.tensor(True), "step": torch.tensor(9)},
        AVERAGE, "under 'online_model.'",
    ),
    "latent diffusion": (
        lambda: under("model.", RAW)
        | {f"model_ema.{key.replace('.', '')}": HALF[key] for key in PARAMETERS}
        | {"model_ema.num_updates": torch.tensor(9)},
        HALF_FULL, "not averaged are the raw network's",
    ),
    "a prefix beside plain names": (lambda: RAW | under("ema.", AVERAGE), AVERAGE, "without a"),
    "a shadow of parameters": (
        lambda: {"model": RAW, "ema": {"decay": 0.9, "shadow": HALF}}, HALF_FULL,
        "3 tensors that 'ema' does not average are those of 'model'",
    ),
    "torch_ema": (
        lambda: {
            "model": RAW,
            "ema": {"decay": 0.9, "num_updates": 3, "shadow_params": LIST, "collected_params": []},
        },
        HALF_FULL, "'ema'; left aside: model",
    ),
    "a list that is of another network": (
        lambda: {"model": RAW, "ema": {"shadow_params": LIST[:-1]}}, RAW,
        "not the averaged weights: 'ema' has 5 tensors without names",
    ),
    "an optimizer's averages are none": (
        lambda: {"model": RAW, "ema_optimizer": {"state": {0: torch.ones(4)}}}, RAW, "'model'",
    ),
    "a name of its own": (
        lambda: {"mine": RAW, "optimizer": {"state": {0: torch.ones(4)}}, "epoch": 3},
        RAW, "'mine'",
    ),
}  # fmt: skip


def read(content: object, folder: Path) -> Checkpoint:
    torch.save(content, folder / "a.pth")
    return read_checkpoint(folder / "a.pth")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_average_is_taken_and_said(layout: str, tmp_path: Path) -> None:
    content, wanted, said = LAYOUTS[layout]
    checkpoint = read(content(), tmp_path)
    found = {key: tensor for key, tensor in checkpoint.tensors.items() if "." in key}
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert torch.equal(found[key], tensor), key
    assert said in "; ".join(checkpoint.notes)


def test_a_part_of_a_network_may_be_called_ema(tmp_path: Path) -> None:
    network = nn.ModuleDict({"ema": nn.Conv2d(3, 3, 1), "conv": nn.Conv2d(3, 4, 1)})
    checkpoint = read(network.state_dict(), tmp_path)
    assert checkpoint.tensors.keys() == network.state_dict().keys()
    assert checkpoint.notes == ()


def test_a_list_without_names_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a list of 6 tensors without names"):
        read({"decay": 0.9, "shadow_params": LIST}, tmp_path)


def test_the_average_goes_into_a_network_of_the_users_own(tmp_path: Path) -> None:
    torch.save({"params": RAW, "params_ema": HALF}, tmp_path / "own.pth")
    network = edgerep.load(tmp_path / "own.pth", model=plain)
    state = network.state_dict()
    assert all(torch.equal(state[key], HALF_FULL[key]) for key in HALF_FULL)
    origin = origin_of(network)
    assert origin is not None
    assert any("'params_ema'; left aside: params" in note for note in origin.notes)

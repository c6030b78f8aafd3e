"""The checkpoints are what the files beside them say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import edgerep
from edgerep.networks.repvgg import RepVGG
from int8.shapes import draw_shapes, standardised
from int8.trained import FOLDER, NETWORKS, TEST, TRAINING, load_trained

IMAGES = 500
# Of 500 images out of the 4,000: three standard errors at 90 %.
AWAY = 4.0


def record_of(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return parsed


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_is_small_and_scores_what_was_written_down(name: str) -> None:
    record = record_of(name)
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 1_000_000
    assert record["test"]["images"] == TEST.images >= 4000
    assert record["test"]["seed"] == TEST.seed != TRAINING.seed
    assert 80 <= record["top1_percent"] <= 95
    drawn = draw_shapes(IMAGES, seed=TEST.seed)
    with torch.inference_mode():
        logits = load_trained(name)(torch.from_numpy(standardised(drawn.images)))
    right = 100 * float((logits.argmax(1).numpy() == drawn.labels).mean())
    assert abs(right - record["top1_percent"]) < AWAY


def test_the_repvgg_fuses_into_at_least_17_convolutions() -> None:
    model = load_trained("repvgg")
    assert isinstance(model, RepVGG)
    fused = edgerep.fuse(model).module
    convolutions = [part for part in fused.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) >= 17


def test_mixed_has_what_a_chain_has_not() -> None:
    fused = edgerep.fuse(load_trained("mixed")).module
    kinds = [part for part in fused.modules() if isinstance(part, torch.nn.Conv2d)]
    assert any(part.groups == part.in_channels > 1 for part in kinds)  # depthwise
    assert any(1 < part.groups < part.in_channels for part in kinds)  # grouped
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in fused.modules())

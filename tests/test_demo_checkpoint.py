"""The trained checkpoint in docs/demo is what its training.json says it is."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgerep.networks.repvgg import RepVGG
from edgerep.networks.repvgg_architecture import Architecture

DEMO = Path(__file__).parents[1] / "docs" / "demo"
CHECKPOINT = DEMO / "digits-repvgg.pth"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((DEMO / "training.json").read_text(encoding="utf-8"))
    return parsed


@pytest.fixture(scope="module")
def model(record: dict[str, Any]) -> RepVGG:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record["architecture"].items()
    }
    model = RepVGG(Architecture(**fields), eps=record["bn_eps"])
    model.load_state_dict(torch.load(CHECKPOINT, weights_only=True), strict=True)
    return model.eval()


def arrays(name: str) -> dict[str, NDArray[Any]]:
    with np.load(DEMO / name, allow_pickle=False) as file:
        return dict(file)


def test_has_every_kind_of_block_and_stays_small(model: RepVGG) -> None:
    plans = list(model.architecture.blocks())
    assert len(plans) >= 14
    kinds = {(plan.has_identity, plan.groups > 1) for plan in plans}
    # In the published g variants, too, the blocks without identity are not grouped.
    assert kinds == {(False, False), (True, False), (True, True)}
    assert CHECKPOINT.stat().st_size < 1_000_000


def test_batchnorm_statistics_are_far_from_fresh(model: RepVGG) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            mean, variance = module.running_mean, module.running_var
            assert mean is not None
            assert variance is not None
            assert (variance - 1).abs().max() > 0.1, name
            if not name.startswith("stage0."):  # whose input has mean zero by preprocessing
                assert mean.abs().max() > 0.1, name


def test_splits_have_the_recorded_sizes_and_share_no_image(record: dict[str, Any]) -> None:
    calibration, test = arrays("calibration.npz"), arrays("test.npz")
    assert set(calibration) == {"images"}
    assert set(test) == {"images", "labels"}
    for images, count in (
        (calibration["images"], record["splits"]["calibration"]),
        (test["images"], record["splits"]["test"]),
    ):
        assert images.shape == (count, 1, 32, 32)
        assert images.dtype == np.uint8
    assert test["labels"].shape == (record["splits"]["test"],)
    assert test["labels"].dtype == np.int64

    # No two of the 1797 digits are the same image, so every repetition would be a leak.
    everything = np.concatenate([calibration["images"], test["images"]])
    assert len({image.tobytes() for image in everything}) == len(everything)


def test_the_script_still_makes_these_splits(
    record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    monkeypatch.syspath_prepend(str(DEMO))
    script = importlib.import_module("train_digits")

    train, calibration, test = script.load_splits(record["seed"])
    np.testing.assert_array_equal(calibration.images.numpy(), arrays("calibration.npz")["images"])
    np.testing.assert_array_equal(test.images.numpy(), arrays("test.npz")["images"])
    np.testing.assert_array_equal(test.labels.numpy(), arrays("test.npz")["labels"])
    assert script.mean_and_std(train.images) == (record["mean"], record["std"])
    images = [
        image.tobytes() for part in (train, calibration, test) for image in part.images.numpy()
    ]
    assert len(set(images)) == len(images) == sum(record["splits"].values())


def test_scores_exactly_what_was_recorded(model: RepVGG, record: dict[str, Any]) -> None:
    test = arrays("test.npz")
    pixels = torch.from_numpy(test["images"]).float()
    with torch.no_grad():
        logits = model((pixels / 255 - record["mean"]) / record["std"])
    correct = int((logits.argmax(1) == torch.from_numpy(test["labels"])).sum())

    recorded = record["results_float32_unfused"]["test"]
    assert (correct, len(pixels)) == (recorded["correct"], recorded["total"])
    assert correct / len(pixels) == pytest.approx(recorded["accuracy"], abs=5e-5)
    assert correct / len(pixels) >= 0.985

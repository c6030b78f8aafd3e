"""Outputs that hold quantities of several scales: each is held to its own."""

from __future__ import annotations

import numpy as np
import pytest

from edgerep.bench.parity.figures.bands import ONE_BAND, bands_of
from edgerep.bench.parity.figures.measures import joined, measure
from edgerep.bench.parity.figures.tolerance import SIGMOID_ERROR, compare
from edgerep.bench.parity.judgement import judged
from edgerep.bench.parity.output_findings import OutputParity

RNG = np.random.default_rng(0)
BOXES = 300 * RNG.random((12, 4, 50))
SCORES = 1e-3 * RNG.random((12, 80, 50))
DETECTIONS = np.concatenate([BOXES, SCORES], axis=1)


def judge(wrong: np.ndarray, truth: np.ndarray, precision: str = "fp32") -> OutputParity:
    """`wrong` beside a reference that rounds as float32 does."""
    bands = bands_of(truth)
    each = truth[0].size // (truth.shape[bands.axis] if bands.axis else 1)
    count = [each * len(band) for band in bands.members] or [each]
    narrow = truth.astype(np.float32)
    return judged("out", precision, bands, count, [measure(narrow, truth, bands)],
                  {1: [measure(wrong, truth, bands)]})  # fmt: skip


@pytest.mark.parametrize("axis", [1, 2])
def test_a_gap_of_scales_parts_an_output_along_its_axis(axis: int) -> None:
    bands = bands_of(DETECTIONS.swapaxes(1, axis))
    assert bands.axis == axis
    assert bands.members == (tuple(range(4)), tuple(range(4, 84)))


@pytest.mark.parametrize("truth", [
    BOXES, RNG.standard_normal((8, 1000)), np.ones((3, 4)), np.zeros((3, 4)), RNG.random(5),
    RNG.random((50, 10)) * 2.0 ** -np.arange(0, 30, 3),
], ids=["boxes", "logits", "constant", "zero", "one number", "decades without a gap"])  # fmt: skip
def test_what_has_one_scale_is_one_band(truth: np.ndarray) -> None:
    assert bands_of(truth) == ONE_BAND


def test_rows_of_zeros_do_not_hide_the_axis_of_scales() -> None:
    framed = DETECTIONS.copy()
    framed[:, :, :3] = 0
    assert bands_of(framed).axis == 1
    framed[:, 5] = 0
    assert bands_of(framed).members == (tuple(range(4)), tuple(range(4, 84)))


def test_a_channel_that_hardly_fires_goes_with_the_others() -> None:
    features = np.maximum(RNG.standard_normal((8, 16, 100)), 0)
    features[:, 3] = 0
    features[:, 5] = np.maximum(1e-3 * RNG.standard_normal((8, 100)) - 2e-3, 0)
    assert bands_of(features) == ONE_BAND
    padded = DETECTIONS.copy()
    padded[:, :, 5:] = 0  # rows that are filled up: zero in boxes and scores alike
    assert bands_of(padded).members == (tuple(range(4)), tuple(range(4, 84)))


@pytest.mark.parametrize(("precision", "rounding", "error"), [
    ("fp32", np.float32, 1e-4), ("fp16", np.float16, 1e-1),
])  # fmt: skip
def test_a_fault_in_the_scores_is_found_beside_boxes(
    precision: str, rounding: type, error: float
) -> None:
    honest: np.ndarray = DETECTIONS.astype(rounding)
    assert judge(honest, DETECTIONS, precision).batches[0].passed
    wrong = honest.astype(np.float64)
    wrong[:, 7] *= 1 + 10 * error  # of the worst probe's scores together: a tenth of it
    found = judge(wrong, DETECTIONS, precision)
    assert not found.passed
    assert [band.passed for band in found.bands] == [True, False]
    assert compare(wrong, DETECTIONS).rel_l2 < found.tolerance.rel_l2  # hidden without bands


def test_zeros_may_have_a_rounding_error_and_no_more() -> None:
    truth = DETECTIONS.copy()
    truth[:, 20] = 0
    wrong = truth.copy()
    wrong[:, 20] = 1e-10
    assert judge(wrong, truth).passed
    wrong[:, 20] = 1e-7
    found = judge(wrong, truth)
    assert [band.passed for band in found.bands] == [True, False]


def test_what_is_only_rounding_is_held_to_itself_and_said_to_be_undecidable() -> None:
    truth = DETECTIONS.copy()
    own = truth.astype(np.float32).astype(np.float64)
    own[:, 4:] += 1e-5 * RNG.standard_normal(own[:, 4:].shape)  # 1 % of the scores
    bands = bands_of(truth)

    def judged_with(noise: float) -> OutputParity:
        wrong = truth.copy()
        wrong[:, 4:] += noise * RNG.standard_normal(wrong[:, 4:].shape)
        return judged("out", "fp32", bands, [200, 4000], [measure(own, truth, bands)],
                      {1: [measure(wrong, truth, bands)]})  # fmt: skip

    found = judged_with(1e-5)
    assert found.passed
    assert found.tolerance.decidable
    assert [band.tolerance.decidable for band in found.bands] == [True, False]
    assert not judged_with(1e-3).passed


def test_the_networks_own_largest_error_counts_where_errors_stand_in_few_numbers() -> None:
    truth = RNG.standard_normal((4, 10_000))
    own = truth.copy()
    own[:, 0] += 1e-4
    assert judged("out", "fp32", ONE_BAND, [10_000], [measure(own, truth)],
                  {1: [measure(own, truth)]}).passed  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
def test_a_kernel_may_be_as_far_off_in_small_scores_as_in_large_ones(whole: bool) -> None:
    truth = (SCORES if whole else DETECTIONS).copy()
    scores = slice(0 if whole else 4, None)
    truth[:, scores] *= 0.04
    bands, own = bands_of(truth), truth.astype(np.float32)

    def judged_with(error: float, least_error: float) -> bool:
        wrong = truth.copy()
        wrong[:, scores] += error * RNG.uniform(-1, 1, wrong[:, scores].shape)
        count = [4000] if whole else [200, 4000]
        return judged("out", "fp32", bands, count, [measure(own, truth, bands)],
                      {1: [measure(wrong, truth, bands)]}, least_error).passed  # fmt: skip

    assert judged_with(1.7e-7, SIGMOID_ERROR)
    assert not judged_with(1.7e-7, 0.0)
    assert not judged_with(2e-6, SIGMOID_ERROR)


def test_blocks_add_up_to_the_whole() -> None:
    noisy = DETECTIONS * (1 + 1e-3 * RNG.standard_normal(DETECTIONS.shape))
    bands = bands_of(DETECTIONS)
    whole = measure(noisy, DETECTIONS, bands)
    parts = joined([measure(noisy[a:b], DETECTIONS[a:b], bands) for a, b in ((0, 5), (5, 12))])
    for name in ("error", "signal", "value", "product", "peak", "agrees"):
        assert (getattr(whole, name) == getattr(parts, name)).all()
    plain = measure(noisy, DETECTIONS)
    assert np.allclose(whole.whole().error, plain.error)
    assert (whole.whole().peak == plain.peak).all()

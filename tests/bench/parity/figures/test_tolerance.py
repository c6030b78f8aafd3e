"""How far outputs may be from the truth: exact for equal ones, never passed for NaN."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgerep.bench.parity.figures.tolerance import (
    LARGEST_TOLERANCE,
    LEAST_AMPLIFICATION,
    SAFETY,
    UNIT_ROUNDOFF,
    Difference,
    Tolerance,
    compare,
    tolerance_for,
)
from edgerep.outside.json_text import finite_json

RNG = np.random.default_rng(0)
TRUTH = RNG.standard_normal((8, 1000))
PRECISIONS = ("fp32", "fp16")

outputs = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 5)),
    elements=st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
)


def with_error(rel_l2: float) -> Difference:
    return Difference(0.0, rel_l2, np.inf, 1.0, 1.0)


@given(outputs)
def test_equal_outputs_have_no_error_at_all(truth: np.ndarray) -> None:
    found = compare(truth, truth)
    assert (found.max_abs, found.rel_l2, found.sqnr_db) == (0, 0, np.inf)
    assert found.cosine == pytest.approx(1)
    assert found.top1_agreement == 1
    assert found.within(tolerance_for("fp32", truth, None))


@given(outputs, st.integers(-20, 20))
def test_only_max_abs_depends_on_the_scale(truth: np.ndarray, exponent: int) -> None:
    noisy = truth + RNG.standard_normal(truth.shape)
    plain, scaled = compare(noisy, truth), compare(noisy * 2.0**exponent, truth * 2.0**exponent)
    assert scaled.max_abs == plain.max_abs * 2.0**exponent
    assert scaled.top1_agreement == plain.top1_agreement
    if np.median(np.linalg.norm(truth, axis=1)) > 0:  # zeros have no scale of their own
        assert scaled.rel_l2 == pytest.approx(plain.rel_l2)
        assert scaled.cosine == pytest.approx(plain.cosine)


def test_the_worst_sample_counts_and_not_the_average() -> None:
    wrong = TRUTH.copy()
    wrong[3] *= 1.5
    found = compare(wrong, TRUTH)
    assert found.rel_l2 == pytest.approx(0.5)
    assert found.max_abs == pytest.approx(np.abs(TRUTH[3]).max() / 2)
    wrong[3] *= -1
    assert compare(wrong, TRUTH).cosine == pytest.approx(-1)


def test_decibels_and_agreement_of_the_largest_output() -> None:
    truth = np.array([[0.0, 10.0], [10.0, 0.0]])
    found = compare(np.array([[0.0, 9.0], [9.0, 9.5]]), truth)
    assert found.sqnr_db == pytest.approx(10 * np.log10(200 / (1 + 1 + 9.5**2)))
    assert found.top1_agreement == 0.5


def test_a_sample_of_zeros_is_measured_against_a_typical_one() -> None:
    truth = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    wrong = truth.copy()
    wrong[0] = 0.05
    assert compare(wrong, truth).rel_l2 == pytest.approx(0.05 * np.sqrt(2) / 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_output_that_is_no_number_never_passes(bad: float, precision: str) -> None:
    wrong = TRUTH.copy()
    wrong[5, 7] = bad
    assert not compare(wrong, TRUTH).within(tolerance_for(precision, TRUTH, None))


def test_float32_outputs_are_compared_in_float64() -> None:
    narrow = TRUTH.astype(np.float32)
    assert 0 < compare(narrow, TRUTH).rel_l2 < UNIT_ROUNDOFF["fp32"]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outputs are \(8, 999\), the reference gives"):
        compare(TRUTH[:, 1:], TRUTH)


@given(st.floats(0, 1e-2), st.floats(0, 1e-2))
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_wilder_network_has_a_wider_bound_up_to_the_largest(
    precision: str, one: float, other: float
) -> None:
    tame, wild = (
        tolerance_for(precision, TRUTH, with_error(error)) for error in sorted((one, other))
    )
    least = SAFETY[precision] * LEAST_AMPLIFICATION[precision] * UNIT_ROUNDOFF[precision]
    assert least <= tame.rel_l2 <= wild.rel_l2 <= LARGEST_TOLERANCE[precision]
    assert tame.max_abs <= wild.max_abs
    assert tame.decidable >= wild.decidable


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_bound_is_the_amplification_times_the_roundoff_of_the_precision(
    precision: str,
) -> None:
    amplification = 10.0
    found = tolerance_for(precision, TRUTH, with_error(amplification * UNIT_ROUNDOFF["fp32"]))
    assert found.amplification == pytest.approx(amplification)
    assert found.rel_l2 == pytest.approx(
        SAFETY[precision] * amplification * UNIT_ROUNDOFF[precision]
    )


@given(st.integers(-30, 30))
def test_the_absolute_bound_follows_the_scale_of_the_truth(exponent: int) -> None:
    one, other = (tolerance_for("fp32", TRUTH * scale, None) for scale in (1.0, 2.0**exponent))
    assert other.max_abs == one.max_abs * 2.0**exponent
    assert other.rel_l2 == one.rel_l2


@pytest.mark.parametrize("own", [1.0, np.inf, np.nan])
def test_a_chaotic_network_is_undecidable_and_then_nothing_passes(own: float) -> None:
    tolerance = tolerance_for("fp32", TRUTH, with_error(own))
    assert not tolerance.decidable
    assert not compare(TRUTH, TRUTH).within(tolerance)


def test_each_bound_is_held_by_itself() -> None:
    tolerance = Tolerance("fp32", rel_l2=1e-3, max_abs=1e-2, amplification=4, decidable=True)
    for rel_l2, max_abs, passes in [(1e-3, 1e-2, True), (2e-3, 0, False), (0, 2e-2, False)]:
        assert Difference(max_abs, rel_l2, 0, 1, 1).within(tolerance) is passes


def test_json_has_none_for_what_it_has_no_word_for() -> None:
    value = {"a": [np.nan, 1.0, (np.inf, "x")], "b": {"c": -np.inf, "d": True, "e": None}}
    found = finite_json(value)
    assert found == {"a": [None, 1.0, [None, "x"]], "b": {"c": None, "d": True, "e": None}}
    json.dumps(found, allow_nan=False)

"""Statistics on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgerep.bench.timing.intervals import (
    MIN_ROUNDS,
    Speedup,
    is_noisy,
    p99,
    quantile,
    relative_spread,
    speedup,
)
from edgerep.bench.timing.rounds import Samples


def lognormal(
    rng: np.random.Generator, median_ns: float, rounds: int = 30, calls: int = 3
) -> Samples:
    drawn = median_ns * np.exp(0.05 * rng.standard_normal((rounds, calls)))
    return Samples(tuple(tuple(int(value) for value in row) for row in drawn))


def drifting(samples: Samples, factors: np.ndarray) -> Samples:
    """The same samples on a machine whose speed changes from round to round."""
    return Samples(
        tuple(
            tuple(int(value * factor) for value in row)
            for row, factor in zip(samples.rounds_ns, factors, strict=True)
        )
    )


def test_quantile_interpolates_between_order_statistics() -> None:
    assert quantile([4, 1, 3, 2], 0.5) == 2.5
    assert quantile(range(11), 0.9) == 9
    assert quantile([7], 0.99) == 7


def test_p99_needs_662_samples() -> None:
    assert p99(range(661)) is None
    assert p99(range(662)) == pytest.approx(654.39)


def test_relative_spread_is_iqr_over_median() -> None:
    assert relative_spread([8, 9, 10, 11, 12]) == pytest.approx(0.2)
    assert relative_spread([0, 0]) == 0
    assert is_noisy([8, 9, 10, 11, 12])
    assert not is_noisy([99, 100, 101])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.01, 1.2, "faster"),
        (0.8, 0.99, "slower"),
        (0.9, 1.1, "no difference"),
        (1.0, 1.2, "no difference"),
        (0.8, 1.0, "no difference"),
    ],
)
def test_verdict(low: float, high: float, verdict: str) -> None:
    assert Speedup((low + high) / 2, low, high).verdict == verdict


def test_ratio_above_one_means_the_first_is_faster() -> None:
    fast, slow = Samples(((10,),) * 10), Samples(((15,),) * 10)
    assert speedup(fast, slow) == Speedup(1.5, 1.5, 1.5)
    assert speedup(slow, fast).verdict == "slower"


def test_equal_cases_are_no_different() -> None:
    rng = np.random.default_rng(3)
    found = speedup(lognormal(rng, 1e6), lognormal(rng, 1e6))
    assert found.verdict == "no difference"
    assert found.low < found.ratio < found.high


def test_a_small_difference_is_found() -> None:
    rng = np.random.default_rng(4)
    found = speedup(lognormal(rng, 1.0e6, rounds=60), lognormal(rng, 1.08e6, rounds=60))
    assert found.verdict == "faster"
    assert found.low < 1.08 < found.high


def test_drift_that_hits_both_leaves_the_ratio() -> None:
    rng = np.random.default_rng(5)
    of, over = lognormal(rng, 1.0e6), lognormal(rng, 1.3e6)
    steady = speedup(of, over)
    # The machine heats up, to half its speed: paired rounds keep the interval narrow.
    factors = np.linspace(1, 2, 30)
    heated = speedup(drifting(of, factors), drifting(over, factors))
    assert heated.ratio == pytest.approx(steady.ratio, rel=0.05)
    assert heated.verdict == "faster"
    # Drawn apart, the rounds of the two cases would drift against each other.
    rounds = rng.permutation(30)
    unpaired = speedup(drifting(of, factors), drifting(over, factors[rounds]))
    assert heated.high - heated.low < unpaired.high - unpaired.low


def test_rounds_are_the_unit_not_calls() -> None:
    """Many calls in a disturbed round are one disturbance, so they must not narrow the interval."""
    rng = np.random.default_rng(6)
    by_round = rng.lognormal(0, 0.2, 12)
    of = drifting(Samples(((1000,) * 50,) * 12), by_round)
    over = drifting(Samples(((1000,) * 50,) * 12), rng.lognormal(0, 0.2, 12))
    found = speedup(of, over)
    assert found.verdict == "no difference"
    assert found.high / found.low > 1.1


def test_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(7)
    truth, trials = 1.1, 200
    covered = 0
    for trial in range(trials):
        found = speedup(
            lognormal(rng, 1.0e6), lognormal(rng, truth * 1.0e6), seed=trial, resamples=200
        )
        covered += found.low <= truth <= found.high
    # Five standard errors (1.5 points each) below 95 %; all 200 would mean it is too wide.
    assert 0.875 * trials <= covered < trials


def test_same_seed_same_interval() -> None:
    rng = np.random.default_rng(8)
    of, over = lognormal(rng, 1e6), lognormal(rng, 1e6)
    assert speedup(of, over, seed=1) == speedup(of, over, seed=1)
    assert speedup(of, over, seed=1) != speedup(of, over, seed=2)


def test_too_few_or_unequal_rounds_are_refused() -> None:
    few, enough = Samples(((1,),) * (MIN_ROUNDS - 1)), Samples(((1,),) * MIN_ROUNDS)
    with pytest.raises(ValueError, match="too few for an interval"):
        speedup(few, few)
    with pytest.raises(ValueError, match="same rounds"):
        speedup(few, enough)

"""What samples say: quantiles, and whether one case is really faster than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgerep.bench.timing.rounds import Samples

MIN_SAMPLES_P99 = 662  # with fewer, no sample bounds the true p99; see `p99`
# With fewer rounds even a case that wins every round proves nothing at 95 % (sign test:
# 2 x 0.5^5 = 0.06), and a bootstrap of so few is too narrow.
MIN_ROUNDS = 6
RESAMPLES = 2000  # draws of the bootstrap
_NOISY = 0.1  # interquartile range over median; the threshold of torch.utils.benchmark


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times faster one case is than another.

    Attributes:
        ratio: Median of the other case's samples over the median of this case's: above 1, this
            case is faster.
        low: Lower end of the 95 % interval of `ratio`.
        high: Upper end of the 95 % interval of `ratio`.
        verdict: "faster" or "slower" where the interval leaves 1 out, else "no difference".
    """

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "no difference"


def quantile(samples: Sequence[float], q: float) -> float:
    """The q-quantile by linear interpolation between order statistics (Hyndman and Fan, type 7)."""
    return float(np.quantile(np.asarray(samples, dtype=np.float64), q))


def p99(samples: Sequence[float]) -> float | None:
    """The 0.99-quantile; None under 662 samples, too few to bound it.

    The floor is MLPerf's early-stopping estimate at 99 % confidence: below it, the largest
    sample of all is still no upper bound of the true p99. (For p90 the floor is 64.)
    """
    return quantile(samples, 0.99) if len(samples) >= MIN_SAMPLES_P99 else None


def relative_spread(samples: Sequence[float]) -> float:
    """Interquartile range over median: how much single calls differ."""
    low, middle, high = np.quantile(np.asarray(samples, dtype=np.float64), (0.25, 0.5, 0.75))
    return float((high - low) / middle) if middle else 0.0


def is_noisy(samples: Sequence[float]) -> bool:
    """Whether single calls differ so much that something else was probably running."""
    return relative_spread(samples) > _NOISY


def speedup(of: Samples, over: Samples, *, seed: int = 0, resamples: int = RESAMPLES) -> Speedup:
    """How many times faster `of` is than `over`: the ratio of their medians and its 95 % interval.

    The interval is a percentile bootstrap. Whole rounds are drawn with replacement, the same rounds
    for both cases: calls within a round are not independent of each other, and a disturbance of a
    round hits both.

    Args:
        of: The case that may be faster.
        over: The case it is compared with, from the same call of `measure`.
        seed: Of the draws.
        resamples: How many draws.

    Raises:
        ValueError: The two were not measured in the same rounds, or in fewer than `MIN_ROUNDS`.
    """
    rounds = len(of.rounds_ns)
    if rounds != len(over.rounds_ns):
        raise ValueError(
            f"the cases have {rounds} and {len(over.rounds_ns)} rounds: only cases measured in "
            f"the same rounds can be compared"
        )
    if rounds < MIN_ROUNDS:
        raise ValueError(f"{rounds} rounds are too few for an interval: at least {MIN_ROUNDS}")
    fast = np.asarray(of.rounds_ns, dtype=np.float64)  # [rounds, calls in a round]
    slow = np.asarray(over.rounds_ns, dtype=np.float64)
    rng = np.random.default_rng(seed)
    ratios = np.empty(resamples)
    for index in range(resamples):
        drawn = rng.integers(rounds, size=rounds)
        ratios[index] = np.median(slow[drawn]) / np.median(fast[drawn])
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Speedup(float(np.median(slow) / np.median(fast)), float(low), float(high))

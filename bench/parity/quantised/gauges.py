"""How an int8 layer's weights lie beside a float layer's: a factor a row, a factor a column.

An equalised network has its channels rescaled, so that `W'[o, i] = W[o, i] * c[i] * r[o]` before
rounding; what divides a channel where it is made multiplies it where it is read. Both factors are
fitted to each layer by itself, and then held against each other: a wrong scale of one output
channel is a factor that no layer behind it takes back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgerep.bench.parity.quantised.joint_fit import joint_errors, joint_step

Numbers = NDArray[np.float64]

_ROUNDS = 12  # of fitting rows and columns in turn; they converge in three or four
_STEPS = 4  # of fitting all at once, which converge where those creep
_NOTICED = 1.5  # steps: smaller weights say nothing of a factor, but of its sign
_TELLING = 1.0  # steps: what rounding moved to smaller weights is as large as they are
# Rounding that makes up for errors moves the weights of a column together, by a tenth of a step:
# that counts below four steps, and as many such weights tell no more than ten.
_SMALL = 4.0
_TOGETHER = 0.12


@dataclass(frozen=True, eq=False)
class Gauge:
    """The factors of one layer, in logarithms, with what is known of how exact they are.

    Attributes:
        rows: Of each output channel, [groups, outputs].
        columns: Of each input channel, [groups, inputs]; minus infinity where it cannot be told.
        row_errors: Standard errors of `rows`; infinite where a channel has no weights.
        column_errors: Of `columns`.
        power: What each column says of each row, and the other way round: the sum of the squares
            of the weights that they share, in standard deviations, [groups, outputs, inputs].
        off: Of each output channel: the root mean square of what is left, in its own steps.
        sqnr_db: Signal to what is left, of all weights.
        unseen: What the weights of columns whose factor cannot be told, since it leaves nothing
            of them but rounding errors, have at a factor of 1: the mean of the squares of a row,
            in its steps, [groups, outputs, inputs]. 0 for other columns.
    """

    rows: Numbers
    columns: Numbers
    row_errors: Numbers
    column_errors: Numbers
    power: Numbers
    off: Numbers
    sqnr_db: float
    unseen: Numbers


def gauge_of(weights: Numbers, found: Numbers, steps: Numbers) -> Gauge:
    """Fit `found = weights * exp(rows) * exp(columns)`, in the steps of `found`.

    Args:
        weights: Of the float layer, [groups, outputs, inputs, positions].
        found: Of the int8 layer, of the same shape.
        steps: The step of each output channel of `found`, [groups, outputs].
    """
    rows = np.zeros(weights.shape[:2])
    columns = np.zeros((weights.shape[0], weights.shape[2]))
    levels = found / steps[:, :, None, None]
    with np.errstate(all="ignore"):
        ratio = np.log(found / weights)
    clear = np.isfinite(ratio) & (np.abs(levels) >= _NOTICED)
    ratio = np.where(clear, ratio, 0.0)
    trust = np.where(clear, np.minimum(np.abs(levels), 32.0) ** 2, 0.0)
    for _ in range(_ROUNDS):  # first by logarithms: factors may be decades apart
        rows = _mean(ratio - columns[:, None, :, None], trust, (2, 3))
        columns = _mean(ratio - rows[:, :, None, None], trust, (1, 3))
    is_unseen = trust.sum((1, 3)) == 0
    for _ in range(2):  # then by least squares in steps, which rounding disturbs evenly
        columns[is_unseen] = -np.inf
        for _ in range(_ROUNDS):
            rows += _slope(weights, levels, steps, rows, columns, (2, 3))
            columns += _slope(weights, levels, steps, rows, columns, (1, 3))
        is_unseen |= (_expected(weights, steps, rows, columns) * levels).sum((1, 3)) <= 0
    columns[is_unseen] = -np.inf
    rows, columns = _together(weights, levels, steps, rows, columns)
    expected = _expected(weights, steps, rows, columns)
    left = levels - expected
    off = np.sqrt((left**2).mean((2, 3)))
    noise, signal = float((left**2).sum()), float((expected**2).sum())
    power = _told(expected) / np.maximum(off, 0.29)[:, :, None] ** 2
    row_errors, column_errors = joint_errors(power)
    return Gauge(
        rows,
        columns,
        row_errors,
        column_errors,
        power,
        off,
        10 * np.log10(signal / noise) if signal and noise else 200.0,
        (_expected(weights, steps, rows, np.where(is_unseen, 0.0, -np.inf)) ** 2).mean(3)
        / weights.shape[2],
    )


def _expected(weights: Numbers, steps: Numbers, rows: Numbers, columns: Numbers) -> Numbers:
    factors = np.exp(rows)[:, :, None, None] * np.exp(columns)[:, None, :, None]
    result: Numbers = weights * factors / steps[:, :, None, None]
    return result


def _together(
    weights: Numbers, levels: Numbers, steps: Numbers, rows: Numbers, columns: Numbers
) -> tuple[Numbers, Numbers]:
    """The factors after some steps of all at once, from those that were fitted in turn."""
    for _ in range(_STEPS):
        expected = _expected(weights, steps, rows, columns)
        left = levels - expected
        noise = np.maximum(np.sqrt((left**2).mean((2, 3))), 0.29)[:, :, None, None]
        telling = np.where(np.abs(expected) >= _TELLING, expected, 0.0) / noise
        pulls = telling * left / noise
        power = (telling**2).sum(3)
        of_rows, of_columns = joint_step(power, pulls.sum((2, 3)), pulls.sum((1, 3)))
        rows = rows + np.clip(of_rows, -0.5, 0.5)
        columns = columns + np.clip(of_columns, -0.5, 0.5)
        if max(np.abs(of_rows).max(), np.abs(of_columns).max()) < 1e-4:
            break
    return rows, columns


def _told(expected: Numbers) -> Numbers:
    """How much each column says of each row: squares of weights in steps, over the positions."""
    size = np.abs(expected)
    is_small = (size >= _TELLING) & (size < _SMALL)
    count = is_small.sum((1, 3), keepdims=True)
    squares = np.where(is_small, expected**2 / (1 + _TOGETHER * count), expected**2)
    result: Numbers = np.where(size >= _TELLING, squares, 0.0).sum(3)
    return result


def _mean(values: Numbers, trust: Numbers, axes: tuple[int, int]) -> Numbers:
    total = trust.sum(axes)
    result: Numbers = np.divide(
        (values * trust).sum(axes), total, where=total > 0, out=np.zeros_like(total)
    )
    return result


def _slope(
    weights: Numbers,
    levels: Numbers,
    steps: Numbers,
    rows: Numbers,
    columns: Numbers,
    axes: tuple[int, int],
) -> Numbers:
    """How much larger, in logarithms, what is found is than what is expected, along axes."""
    expected = _expected(weights, steps, rows, columns)
    power = (expected**2).sum(axes)
    product = (expected * levels).sum(axes)
    good = (power > 0) & (product > 0)
    ratio = np.divide(product, power, where=good, out=np.ones_like(power))
    result: Numbers = np.log(np.clip(ratio, 0.1, 10))
    return result

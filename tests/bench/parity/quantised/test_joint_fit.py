"""Factors of rows and columns that share one large weight each, as with an identity tap."""

from __future__ import annotations

import numpy as np

from edgerep.bench.parity.quantised.gauges import gauge_of
from edgerep.bench.parity.quantised.joint_fit import joint_errors, joint_step


def test_a_column_of_one_large_weight_is_told_by_its_small_ones() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((1, 48, 48, 1))
    weights[0, :, 5] *= 0.06
    weights[0, 5] *= 0.06
    weights[0, 5, 5] = 30.0
    rows, columns = rng.uniform(-1, 1, (1, 48)), rng.uniform(-1, 1, (1, 48))
    rows[0, 5] -= 0.7
    columns[0, 5] += 0.7
    scaled = weights * np.exp(rows)[:, :, None, None] * np.exp(columns)[:, None, :, None]
    steps = np.abs(scaled).max((2, 3)) / 127
    gauge = gauge_of(weights, np.rint(scaled / steps[:, :, None, None]) * steps[:, :, None, None],
                     steps)  # fmt: skip
    assert gauge.column_errors[0, 5] > 3 * np.median(gauge.column_errors)
    shift = np.median(gauge.columns - columns)
    assert np.all(np.abs(gauge.columns - columns - shift) < 5 * gauge.column_errors + 0.02)
    assert np.all(np.abs(gauge.rows - rows + shift) < 5 * gauge.row_errors + 0.02)


def test_a_step_solves_and_the_errors_are_those_of_many_draws() -> None:
    rng = np.random.default_rng(1)
    power = rng.uniform(0, 40, (1, 5, 7)) ** 2
    power[0, :, 2] = [900, 1, 0, 2, 1]
    design = np.sqrt(power[0])
    moved = []
    for _ in range(2000):
        left = rng.standard_normal((5, 7))
        rows, columns = joint_step(
            power, (design * left).sum(1)[None], (design * left).sum(0)[None]
        )
        moved.append(np.concatenate([rows[0] - np.average(rows[0], weights=power.sum(2)[0]),
                                     columns[0]]))  # fmt: skip
    found = np.std(moved, 0)
    expected = np.concatenate([one[0] for one in joint_errors(power)])
    assert np.all(found < 1.1 * expected)
    np.testing.assert_allclose(found[5:], expected[5:], rtol=0.1)

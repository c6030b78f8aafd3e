from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.export.precision.int8.rounding import (
    rounded_to_nearest,
    rounded_together,
    row_scales,
)


def _correlated(rng: np.random.Generator, groups: int, columns: int) -> NDArray[np.float64]:
    mixing = rng.standard_normal((groups, columns, columns)) * 0.3 + np.eye(columns)
    result: NDArray[np.float64] = mixing @ mixing.transpose(0, 2, 1)
    return result


def _error(rows: Array, codes: Array, scales: Array, moments: Array) -> float:
    off = codes * scales[:, :, None] - rows
    return float(np.einsum("gok,gkl,gol->", off, moments, off))


@pytest.mark.parametrize(("groups", "outputs", "columns"), [(1, 8, 90), (1, 16, 200), (6, 1, 9)])
def test_weights_rounded_together_answer_closer_than_each_by_itself(
    groups: int, outputs: int, columns: int
) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((groups, outputs, columns))
    moments = _correlated(rng, groups, columns)
    scales = row_scales(rows, 7)
    together = rounded_together(rows, scales, 7, moments)
    single = rounded_to_nearest(rows, scales, 7)
    assert _error(rows, together, scales, moments) < 0.8 * _error(rows, single, scales, moments)
    assert np.abs(together).max() <= 7


def test_inputs_that_have_nothing_in_common_round_each_weight_by_itself() -> None:
    rows = np.random.default_rng(0).standard_normal((2, 5, 70))
    scales = row_scales(rows, 127)
    moments = np.stack([np.diag(np.linspace(1, 2, 70))] * 2)
    np.testing.assert_array_equal(
        rounded_together(rows, scales, 127, moments), rounded_to_nearest(rows, scales, 127)
    )


def test_the_largest_weight_of_a_row_has_the_largest_code() -> None:
    rows = np.random.default_rng(0).standard_normal((1, 4, 30)) * [[[1], [1e-6], [1e4], [0]]]
    codes = rounded_to_nearest(rows, row_scales(rows, 127), 127)
    np.testing.assert_array_equal(np.abs(codes).max(2), [[127, 127, 127, 0]])


def test_inputs_that_never_fire_are_no_obstacle() -> None:
    rows = np.random.default_rng(0).standard_normal((1, 3, 12))
    moments = np.zeros((1, 12, 12))
    scales = row_scales(rows, 127)
    np.testing.assert_array_equal(
        rounded_together(rows, scales, 127, moments), rounded_to_nearest(rows, scales, 127)
    )

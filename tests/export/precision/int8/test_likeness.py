from __future__ import annotations

import numpy as np
import pytest

from edgerep.export.precision.int8.likeness import likeness, parts_of


def test_scores_do_not_drown_in_boxes() -> None:
    rng = np.random.default_rng(0)
    boxes = 300 * rng.uniform(size=(2, 4, 50))
    scores = 0.01 * rng.uniform(size=(2, 6, 50))
    wanted = np.concatenate([boxes, scores], axis=1)
    found = wanted.copy()
    found[:, 4:] = 0  # every object is lost
    seen = likeness([wanted], [found])
    assert seen.parts == 2
    assert seen.worst_db == pytest.approx(0, abs=0.01)
    assert seen.sqnr_db == pytest.approx(100)  # of one part nothing, of the other all
    assert [len(part[1]) for part in parts_of(wanted)] == [6, 4]


def test_the_last_axis_may_tell_boxes_from_scores_too() -> None:
    rng = np.random.default_rng(0)
    wanted = np.concatenate(
        [300 * rng.uniform(size=(2, 50, 4)), 0.01 * rng.uniform(size=(2, 50, 2))], axis=2
    )
    assert [len(part[2]) for part in parts_of(wanted)] == [2, 4]


def test_classes_are_counted_and_are_one_part() -> None:
    wanted = np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 5.0], [1.0, 0.0]])
    found = wanted.copy()
    found[0] = [2.0, 1.0]
    seen = likeness([wanted], [found])
    assert seen.agreement == 0.75
    assert seen.parts == 1
    assert likeness([wanted], [wanted]).sqnr_db == 200


def test_answers_that_are_not_finite_are_as_bad_as_can_be() -> None:
    assert likeness([np.ones((2, 3))], [np.full((2, 3), np.nan)]).sqnr_db == -200

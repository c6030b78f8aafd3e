"""The batch sizes that an artefact is made for."""

from __future__ import annotations

import pytest

from edgerep.artefacts.batches import BatchProfile, batch_profile, batches_of
from edgerep.errors import OptionError


@pytest.mark.parametrize("given", [8, "8", [8], (8,), BatchProfile(8, 8, 8)])
def test_one_size_is_static(given: object) -> None:
    profile = batch_profile(given)  # type: ignore[arg-type]  # each of them is allowed
    assert profile == BatchProfile(8, 8, 8)
    assert profile.is_static
    assert str(profile) == "8"
    assert profile.sizes == (8,)


def test_a_range_has_three_sizes() -> None:
    profile = batch_profile("1:8:32")
    assert profile == batch_profile((1, 8, 32))
    assert profile.to_json() == [1, 8, 32]
    assert profile.sizes == (1, 8, 32)
    assert str(profile) == "1:8:32"


@pytest.mark.parametrize("given", ["", "1:2", "a", (1, 2), "0", "3:2:4", (1, 5, 4)])
def test_anything_else_is_refused(given: object) -> None:
    with pytest.raises(OptionError):
        batch_profile(given)  # type: ignore[arg-type]  # which is the point


def test_samples_are_cut_into_full_batches_the_last_filled_up_from_the_beginning() -> None:
    assert [list(order) for order in batches_of(5, 2)] == [[0, 1], [2, 3], [4, 0]]
    assert [list(order) for order in batches_of(2, 5)] == [[0, 1, 0, 1, 0]]

"""Which batch sizes are run, and that no batch hides an answer given to the wrong image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerep.artefacts.batches import BatchProfile, batch_profile
from edgerep.bench.parity.batch_plan import arrangements, sizes_to_run


@pytest.mark.parametrize(("profile", "sizes"), [
    ("1", (1,)), ("40", (40,)), ("1:2:3", (1, 2, 3)), ("1:1:16", tuple(range(1, 17))),
    ("1:8:32", (*range(1, 17), 23, 32)), ("12:20:24", (*range(12, 17), 20, 23, 24)),
    ("1:8:256", (*range(1, 17), 61, 127, 256)), ("20:24:28", (20, 23, 24, 28)),
])  # fmt: skip
def test_every_size_up_to_16_and_beyond_it_some(profile: str, sizes: tuple[int, ...]) -> None:
    assert sizes_to_run(batch_profile(profile)) == sizes


@given(st.tuples(*[st.integers(1, 2000)] * 3).map(sorted))
def test_no_size_is_outside_the_profile_and_few_are_large(profile: list[int]) -> None:
    smallest, optimum, largest = profile
    sizes = sizes_to_run(BatchProfile(smallest, optimum, largest))
    assert {smallest, optimum, largest} <= set(sizes)
    assert all(smallest <= size <= largest for size in sizes)
    assert sum(size > 16 for size in sizes) <= 5


@given(st.integers(1, 40), st.integers(1, 100), st.booleans())
def test_batches_are_full_and_hold_what_differs(count: int, size: int, once: bool) -> None:
    batches = list(arrangements(count, size, first=3, once=once))
    assert all(len(batch) == size for batch in batches)
    assert all(((batch >= 0) & (batch < count)).all() for batch in batches)
    if size <= count:
        assert all(len(set(batch)) == size for batch in batches)
        assert once or {*np.concatenate(batches)} == {*range(count)}
    elif size <= count * count:
        places = list(
            zip(*batches, strict=True)
        )  # what stands at a place, in one batch after another
        assert len(set(places)) == size

"""Timing on a fake clock: what is counted, in which order, and what is kept apart."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence

import pytest

from edgerep.bench.timing.rounds import MAX_ITERATIONS, Samples, measure

MS = 1_000_000  # ns


class FakeClock:
    """Time that passes only when a call says so."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.log: list[str] = []

    def __call__(self) -> int:
        return self.now_ns

    def call(self, name: str, durations_ns: Sequence[int]) -> Callable[[], None]:
        """A call that takes these durations in turn, the last one for ever after."""
        left = list(durations_ns)

        def once() -> None:
            self.log.append(name)
            self.now_ns += left.pop(0) if len(left) > 1 else left[0]

        return once


def test_samples_are_what_the_clock_says() -> None:
    clock = FakeClock()
    samples = measure(
        {"a": clock.call("a", [5 * MS]), "b": clock.call("b", [7 * MS])},
        rounds=4, warmup_seconds=0, min_round_seconds=0, clock_ns=clock,
    )  # fmt: skip
    assert samples["a"].rounds_ns == ((5 * MS,),) * 4
    assert samples["b"].flat_ns == (7 * MS,) * 4


def test_warmup_is_kept_apart() -> None:
    clock = FakeClock()
    samples = measure(
        {"a": clock.call("a", [900 * MS, 30 * MS, 10 * MS])},
        rounds=6, warmup_seconds=0, warmup_iterations=3, min_round_seconds=0, clock_ns=clock,
    )["a"]  # fmt: skip
    assert samples.warmup_ns == (900 * MS, 30 * MS, 10 * MS)
    assert set(samples.flat_ns) == {10 * MS}


def test_warmup_lasts_as_long_as_asked() -> None:
    clock = FakeClock()
    samples = measure({"a": clock.call("a", [10 * MS])}, rounds=1, warmup_seconds=0.1,
                      clock_ns=clock)["a"]  # fmt: skip
    assert sum(samples.warmup_ns) == 100 * MS


@pytest.mark.parametrize(
    ("duration_ns", "expected"),
    [(50 * MS, 1), (20 * MS, 1), (19 * MS, 2), (5 * MS, 4), (100, MAX_ITERATIONS), (0, None)],
)
def test_turn_lasts_about_min_round_seconds(duration_ns: int, expected: int | None) -> None:
    clock = FakeClock()
    samples = measure({"a": clock.call("a", [duration_ns])}, rounds=3, warmup_seconds=0,
                      min_round_seconds=0.02, clock_ns=clock)["a"]  # fmt: skip
    assert [len(one) for one in samples.rounds_ns] == [expected or MAX_ITERATIONS] * 3


def test_cold_calls_do_not_decide_the_length_of_a_turn() -> None:
    clock = FakeClock()
    call = clock.call("a", [500 * MS, 500 * MS, 2 * MS])
    samples = measure({"a": call}, rounds=2, warmup_seconds=0, warmup_iterations=5,
                      min_round_seconds=0.02, clock_ns=clock)["a"]  # fmt: skip
    assert [len(one) for one in samples.rounds_ns] == [10, 10]


def test_every_case_has_one_turn_in_every_round_in_changing_order() -> None:
    clock = FakeClock()
    names = ["a", "b", "c"]
    measure(
        {name: clock.call(name, [MS]) for name in names},
        rounds=20, warmup_seconds=0, warmup_iterations=1, min_round_seconds=0,
        rng=random.Random(1), clock_ns=clock,
    )  # fmt: skip
    turns = clock.log[3:]  # after one warm-up call each
    # A turn is an untimed call, for the caches, and a timed one.
    orders = [tuple(turns[at : at + 6]) for at in range(0, len(turns), 6)]
    assert len(orders) == 20
    assert all(order[::2] == order[1::2] and sorted(order[::2]) == names for order in orders)
    assert len(set(orders)) > 3


def test_the_first_call_of_a_turn_is_not_timed() -> None:
    clock = FakeClock()
    previous = [""]

    def call(name: str) -> Callable[[], None]:
        def once() -> None:
            clock.now_ns += 90 * MS if previous[0] != name else 10 * MS  # cold caches
            previous[0] = name

        return once

    samples = measure({"a": call("a"), "b": call("b")}, rounds=8, warmup_seconds=0,
                      min_round_seconds=0, clock_ns=clock)  # fmt: skip
    assert set(samples["a"].flat_ns) | set(samples["b"].flat_ns) == {10 * MS}


def test_garbage_collector_is_off_inside_and_as_before_after() -> None:
    clock = FakeClock()
    seen: list[bool] = []

    def call() -> None:
        clock.now_ns += MS
        seen.append(gc.isenabled())

    measure({"a": call}, rounds=2, warmup_seconds=0, min_round_seconds=0, clock_ns=clock)
    assert seen[-4:] == [False] * 4
    assert gc.isenabled()


def test_garbage_collector_is_back_after_an_error() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("the device went away")

    with pytest.raises(RuntimeError, match="the device went away"):
        measure({"a": call}, rounds=5, warmup_seconds=0, min_round_seconds=0)
    assert gc.isenabled()


def test_progress_is_told_after_every_round() -> None:
    clock = FakeClock()
    told: list[int] = []
    measure({"a": clock.call("a", [MS])}, rounds=3, warmup_seconds=0, clock_ns=clock,
            on_round=told.append)  # fmt: skip
    assert told == [1, 2, 3]


def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        measure({}, rounds=0)


def test_flat_keeps_the_order_of_measurement() -> None:
    assert Samples(((3, 1), (2, 5))).flat_ns == (3, 1, 2, 5)


def test_something_may_be_done_before_each_turn_untimed() -> None:
    clock = FakeClock()
    rest = clock.call("rest", [40 * MS])
    samples = measure(
        {name: clock.call(name, [10 * MS]) for name in ("a", "b")},
        rounds=2, warmup_seconds=0, warmup_iterations=1, min_round_seconds=0,
        rng=random.Random(0), clock_ns=clock, before_turn=rest,
    )  # fmt: skip
    assert clock.log[:4] == ["rest", "a", "rest", "b"]
    turns = [clock.log[at : at + 3] for at in range(4, len(clock.log), 3)]
    assert [turn[0] for turn in turns] == ["rest"] * 4
    assert all(turn[1] == turn[2] for turn in turns)
    assert set(samples["a"].flat_ns + samples["b"].flat_ns) == {10 * MS}

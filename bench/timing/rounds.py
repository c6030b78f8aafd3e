"""Time several calls against each other, so that what disturbs one disturbs the others too.

The cases take turns in rounds, in a new random order each round, as in google-benchmark's random
interleaving: drift of clocks, temperature and neighbours then falls on all of them alike, and a
round is the unit that the statistics resample (see `edgerep.bench.timing.intervals`).
"""

from __future__ import annotations

import contextlib
import gc
import random
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

MIN_WARMUP_ITERATIONS = 3
MAX_ITERATIONS = 200  # of one case in one round; keeps a microsecond's call from filling the disk


@dataclass(frozen=True, slots=True)
class Samples:
    """Wall-clock durations of single calls of one case, nothing trimmed.

    Attributes:
        rounds_ns: One tuple per round, equally long, in the order of measurement.
        warmup_ns: Calls before the first round; kept apart, in no statistic.
    """

    rounds_ns: tuple[tuple[int, ...], ...]
    warmup_ns: tuple[int, ...] = ()

    @property
    def flat_ns(self) -> tuple[int, ...]:
        return tuple(sample for one in self.rounds_ns for sample in one)


def measure(
    calls: Mapping[Key, Callable[[], None]],
    *,
    rounds: int = 30,
    warmup_seconds: float = 0.5,
    warmup_iterations: int = MIN_WARMUP_ITERATIONS,
    min_round_seconds: float = 0.02,
    rng: random.Random | None = None,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    before_turn: Callable[[], object] = lambda: None,
    on_round: Callable[[int], None] | None = None,
) -> dict[Key, Samples]:
    """Time every call in interleaved rounds.

    Before each case's turn in a round its call runs once untimed: it finds the caches that another
    case left behind.

    Args:
        calls: What to time; each call returns when its work has finished.
        rounds: How many rounds; every case has one turn in each.
        warmup_seconds: Each case is warmed up for at least this long, alone, before the rounds.
        warmup_iterations: How many calls the warm-up of each case has at least.
        min_round_seconds: A turn repeats its call until the turn is about this long: at least once
            and at most `MAX_ITERATIONS` times. The warm-up's second half decides the number.
        rng: Draws the order of the cases; `random.Random(0)` if omitted.
        clock_ns: Monotonic clock in nanoseconds.
        before_turn: Called before the warm-up and before every turn of a case, untimed.
        on_round: Told the number of rounds done, after each.

    Returns:
        The samples of every case, with equally many rounds.

    Raises:
        ValueError: `rounds` is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    rng = rng or random.Random(0)
    warmups = {}
    for key, call in calls.items():
        before_turn()
        warmups[key] = _warm_up(call, warmup_seconds, warmup_iterations, clock_ns)
    iterations = {key: _iterations(warmups[key], min_round_seconds) for key in calls}
    taken: dict[Key, list[tuple[int, ...]]] = {key: [] for key in calls}
    order = list(calls)
    with _no_garbage_collection():
        for done in range(1, rounds + 1):
            rng.shuffle(order)
            for key in order:
                before_turn()
                calls[key]()
                taken[key].append(_turn(calls[key], iterations[key], clock_ns))
            if on_round is not None:
                on_round(done)
    return {key: Samples(tuple(taken[key]), warmups[key]) for key in calls}


def _turn(call: Callable[[], None], count: int, clock_ns: Callable[[], int]) -> tuple[int, ...]:
    durations = []
    for _ in range(count):
        start = clock_ns()
        call()
        durations.append(clock_ns() - start)
    return tuple(durations)


def _warm_up(
    call: Callable[[], None], seconds: float, iterations: int, clock_ns: Callable[[], int]
) -> tuple[int, ...]:
    begin = clock_ns()
    durations: list[int] = []
    while len(durations) < max(iterations, 1) or clock_ns() - begin < seconds * 1e9:
        durations.extend(_turn(call, 1, clock_ns))
    return tuple(durations)


def _iterations(warmup_ns: tuple[int, ...], min_round_seconds: float) -> int:
    settled = sorted(warmup_ns[len(warmup_ns) // 2 :])
    typical = max(settled[len(settled) // 2], 1)
    return min(max(1, -(-int(min_round_seconds * 1e9) // typical)), MAX_ITERATIONS)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect once, then keep Python's collector from running inside a sample."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

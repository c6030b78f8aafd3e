"""Which cases are compared with which, and what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from edgerep.bench.sessions.runnables import Runnable
from edgerep.bench.timing.cases import Case, Ratio
from edgerep.bench.timing.intervals import speedup

_BASES = {"fused": ("unfused", "unfused-folded")}  # what a form is compared with


def labels_of(runnables: Sequence[Runnable]) -> list[str]:
    """Keys without the batch: by what they are, and by name where that is not enough."""
    plain = [f"{s.form}/{s.runtime}/{s.precision}" for s in runnables]
    named = [f"{s.form}:{s.name}/{s.runtime}/{s.precision}" for s in runnables]
    labels, seen = [], Counter[str]()
    for short, long in zip(plain, named, strict=True):
        label = short if plain.count(short) == 1 else long
        seen[label] += 1
        labels.append(label if seen[label] == 1 else f"{label}#{seen[label]}")
    return labels


def ratios_of(timed: Sequence[tuple[Case, Runnable]], seed: int) -> Iterator[Ratio]:
    """The speed-ups worth knowing among cases that were measured in the same rounds."""
    for of, over in _pairs(timed):
        found = speedup(of.samples, over.samples, seed=seed)
        yield Ratio(of.key, over.key, found.ratio, (found.low, found.high), found.verdict)


def _pairs(timed: Sequence[tuple[Case, Runnable]]) -> Iterator[tuple[Case, Case]]:
    """Cases that differ in one thing: in form, or in precision."""
    for of, runnable in timed:
        for over, other in timed:
            if of.backend != over.backend or _of_different_networks(runnable, other):
                continue
            forms = of.precision == over.precision and over.form in _BASES.get(of.form, ())
            narrowed = of.form == over.form and over.precision == "fp32" != of.precision
            if forms or narrowed:
                yield of, over


def _of_different_networks(one: Runnable, other: Runnable) -> bool:
    return None not in (one.network, other.network) and one.network != other.network

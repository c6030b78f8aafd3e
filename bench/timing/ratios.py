"""Which cases are compared with which, and the labels of cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.timing.cases import Case, Ratio
from edgerep.bench.timing.intervals import speedup

_BASES = {"fused": ("unfused", "unfused-folded")}  # what a form is compared with


def labels_of(runnables: Sequence[Runnable]) -> list[str]:
    """A label for each runnable, its cases' key without the batch: distinct, in the given order."""
    plain = [f"{s.form}/{s.runtime}/{s.precision}" for s in runnables]
    named = [f"{s.form}:{s.name}/{s.runtime}/{s.precision}" for s in runnables]
    labels, seen = [], Counter[str]()
    for short, long in zip(plain, named, strict=True):
        label = short if plain.count(short) == 1 else long
        seen[label] += 1
        labels.append(label if seen[label] == 1 else f"{label}#{seen[label]}")
    return labels


def ratios_of(timed: Sequence[tuple[Case, Runnable]], seed: int) -> Iterator[Ratio]:
    """The speed-ups among cases that differ in form or in precision, and in nothing else.

    Args:
        timed: Cases that were measured in the same rounds, and what was run.
        seed: Of the bootstrap.
    """
    for of, over in _pairs(timed):
        found = speedup(of.samples, over.samples, seed=seed)
        yield Ratio(of.key, over.key, found.ratio, (found.low, found.high), found.verdict)


def _pairs(timed: Sequence[tuple[Case, Runnable]]) -> Iterator[tuple[Case, Case]]:
    """Pairs of cases that differ in form only or in precision only; first what may be faster."""
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

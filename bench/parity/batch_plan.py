"""At which batch sizes an artefact is run, and which probe stands where in each batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.batches import BatchProfile, batches_of

# Beyond what a file with an open batch is made for, where nothing in it says for what.
_OPEN = (1, 2, 3, 8)
_ALL_UP_TO = 16  # runtimes have kernels of their own for small batches
# Beyond, one or two between the named ones: primes, which no vector width divides.
_PRIMES = (17, 23, 31, 47, 61, 97, 127, 193, 251, 383, 509, 761, 1021)


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """At which sizes an artefact is run.

    Attributes:
        sizes: All, rising.
        main: Those at which every probe is run; at the others one batch is.
        beyond: Those of `sizes` that the artefact only takes because its batch is open.
    """

    sizes: tuple[int, ...]
    main: tuple[int, ...]
    beyond: tuple[int, ...] = ()

    @property
    def own(self) -> BatchPlan:
        """The same without what is beyond."""
        kept = tuple(size for size in self.sizes if size not in self.beyond)
        return BatchPlan(kept, self.main)


def plan_of(profile: BatchProfile, *, is_open: bool) -> BatchPlan:
    """At which sizes an artefact is run.

    Args:
        profile: That it is made for.
        is_open: Whether it takes any batch and its profile is one size: a file from elsewhere, or
            one whose notes were lost, is used at others.
    """
    sizes = sizes_to_run(profile)
    beyond = tuple(size for size in _OPEN if size not in sizes) if is_open else ()
    return BatchPlan(tuple(sorted({*sizes, *beyond})), profile.sizes, beyond)


def sizes_to_run(profile: BatchProfile) -> tuple[int, ...]:
    """The sizes at which an artefact of this profile is compared, rising.

    Every size of the profile up to 16; beyond it the smallest, the optimum, the largest, and a
    prime or two between.
    """
    small = range(profile.smallest, min(profile.largest, _ALL_UP_TO) + 1)
    between = [size for size in _PRIMES if profile.smallest < size < profile.largest]
    middle = len(between) // 2
    picked = between[middle::2][:2] if len(between) > 4 else between[middle : middle + 1]
    return tuple(sorted({*small, *picked, *profile.sizes}))


def arrangements(
    count: int, size: int, *, first: int = 0, once: bool = False
) -> Iterator[NDArray[np.int64]]:
    """Batches [size] of indices below `count`, each index once at least.

    No batch holds an index twice while `size` allows; where it does not, a second batch is
    arranged so that two places with the same content in the one differ in the other (up to a
    size of `count` squared): an artefact that answers one place with another's content shows.

    Args:
        count: Of the probes.
        size: Of a batch.
        first: The index that the first batch begins with.
        once: One batch is enough, where it can hold different indices.
    """
    if size > count:
        places = np.arange(size)
        yield (first + places) % count
        yield (first + places + places // count) % count
    elif once:
        yield (first + np.arange(size)) % count
    else:
        yield from batches_of(count, size)

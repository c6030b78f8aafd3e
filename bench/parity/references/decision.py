"""What a network decides on its way, so that a rounding error turns into another answer.

It picks (the best queries, the class of each pixel: `choices`), holds numbers against each other
(a mask) or cuts them into steps (pixels of eight bits: `cuts`). Wherever candidates tie, or a
number lies at its threshold, two honest runtimes decide otherwise: they are compared before the
decision then, and behind it with the same decision made in both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgerep.artefacts.tensors import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Decision(ABC):
    """One decision of a network, for N samples.

    Attributes:
        scores: What it decided by, [N, ...].
        chosen: What it decided, [N, ...].
    """

    scores: Array
    chosen: Array

    def of_each(self, count: int) -> bool:
        """Whether it was made for each of `count` samples by itself."""
        return len(self.scores) == len(self.chosen) == count

    @property
    def is_open(self) -> bool:
        """Whether there is anything to decide: it is by no constants, the same for all samples."""
        return not bool((self.scores == self.scores[:1]).all())

    @abstractmethod
    def looks_like(self, kind: str, scores: Array, chosen: Array) -> bool:
        """Whether a file whose operator of this kind decided so by `scores` may have made it."""

    @abstractmethod
    def is_told_by(self, output: Array) -> bool:
        """Whether an output of the reference, [N, ...], is this decision and tells it all."""

    @abstractmethod
    def read(self, output: Array) -> Array:
        """What an artefact decided, from its output that is the decision."""

    @abstractmethod
    def explained(self, chosen: Array) -> Array | None:
        """The scores nearest to those of the network by which this would be decided, [N, ...].

        None where the decision says too little about them.
        """

    @abstractmethod
    def regret(self, scores: Array, chosen: Array, unit: float = 0.0) -> Array:
        """How much better another decision would have been by these scores, [N]; 0 for a right one.

        Args:
            scores: By which an artefact decided, [N, ...]; for the samples of this decision.
            chosen: What the artefact decided, [N, ...].
            unit: Half the distance of 1 to the next number, where the artefact may have decided by
                more digits than `scores` has; else 0.
        """

    @abstractmethod
    def another(self) -> Array:
        """Something else that might have been decided, for every sample."""

    @abstractmethod
    def margin(self) -> float:
        """How far the scores are from another decision, where they are nearest."""

    def part(self, rows: slice | Array) -> Decision:
        """The decision for some of the samples."""
        return replace(self, scores=self.scores[rows], chosen=self.chosen[rows])


def joined_decisions(parts: Sequence[Decision | None]) -> Decision | None:
    """The same decision for several batches, one after the other; None if it is not one of each."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len({part.scores.shape[1:] for part in known}) > 1:
        return None
    return replace(
        known[0],
        scores=np.concatenate([part.scores for part in known]),
        chosen=np.concatenate([part.chosen for part in known]),
    )

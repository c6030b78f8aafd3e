"""The fewest layers in floating point with which a quantised graph keeps to a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgerep.errors import ParityError
from edgerep.export.precision.int8.candidate import Candidate
from edgerep.export.precision.int8.comparison import HeldOut
from edgerep.export.precision.int8.ground import Watch
from edgerep.export.precision.int8.likeness import Likeness

WHY = "the budget needs it"


@dataclass(frozen=True, slots=True)
class Budget:
    """How far the answers of a quantised graph may be from those in float32.

    Attributes:
        max_drop: Of a hundred held-out images, how many may be answered otherwise; None for any.
        min_sqnr: Signal to quantisation noise of the worst output, in decibels; None for any.
    """

    max_drop: float | None = None
    min_sqnr: float | None = None

    @property
    def is_open(self) -> bool:
        return self.max_drop is None and self.min_sqnr is None

    def missed_by(self, found: Likeness) -> str:
        """By how much a likeness misses the budget, in words; "" if it keeps to it.

        Raises:
            ParityError: A drop is limited, and no output is a row of scores.
        """
        missed = []
        if self.min_sqnr is not None and found.worst_db < self.min_sqnr:
            missed.append(f"{found.worst_db:.1f} dB, and at least {self.min_sqnr:g} are wanted")
        if self.max_drop is not None:
            if found.agreement is None:
                raise ParityError(
                    "a largest drop is of classifiers, whose output is a row of scores for each "
                    "image, and this network has none: give --min-sqnr instead"
                )
            drop = 100 * (1 - found.agreement)
            if drop > self.max_drop:
                missed.append(
                    f"{drop:.1f} of 100 held-out images answered otherwise, and at most "
                    f"{self.max_drop:g} are wanted"
                )
        return "; ".join(missed)


NO_BUDGET = Budget()


def kept_to(
    budget: Budget, candidate: Candidate, found: Likeness, held_out: HeldOut, watch: Watch
) -> tuple[Candidate, Likeness]:
    """A candidate that keeps to a budget, with as few layers in floating point as that takes.

    One pass puts each layer by itself back into floating point; then the best are put back
    together, one more at a time.

    Args:
        budget: What is wanted.
        candidate: The best one in eight bits.
        found: Its likeness.
        held_out: To compare with.
        watch: Told how far it is.

    Raises:
        ParityError: It is missed even with half of the layers in floating point.
    """
    if not budget.missed_by(found):
        return candidate, found
    order = _by_gain(candidate, held_out, watch)
    tried = candidate
    for count in range(1, len(order) // 2 + 1):
        tried = candidate.without(order[:count], WHY)
        likeness = held_out.likeness(tried.model())
        watch("layers in floating point", count, len(order) // 2)
        if not budget.missed_by(likeness):
            return tried, likeness
        found = likeness
    raise ParityError(
        f"the budget cannot be kept in eight bits: with {len(order) // 2} of {len(order)} layers "
        f"in floating point it is {budget.missed_by(found)}. Use --precision fp16, or ask for less"
    )


def _by_gain(candidate: Candidate, held_out: HeldOut, watch: Watch) -> Sequence[str]:
    """The names of the layers, those first that bring most when they stay in floating point."""
    names = [layer.name for layer in candidate.placement.layers]
    gains = {}
    for at, name in enumerate(names):
        watch("sensitivity, layer", at, len(names))
        gains[name] = held_out.likeness(candidate.without([name], WHY).model()).worst_db
    return sorted(names, key=lambda name: -gains[name])

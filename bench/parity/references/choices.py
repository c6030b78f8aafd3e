"""Choices of the best along one axis: top-k, sort, arg-max."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references.decision import Decision


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice(Decision):
    """One choice of the network, for N samples: of the best along one axis.

    Attributes:
        chosen: Indices, of the shape of `scores` but along `axis`, best first.
        axis: Along which it chose; the batch is axis 0.
        largest: Whether the largest numbers are the best, or the smallest.
        ordered: Whether the order of what it chose is by their scores.
    """

    axis: int
    largest: bool
    ordered: bool

    def of_each(self, count: int) -> bool:
        return self.axis > 0 and Decision.of_each(self, count)

    def looks_like(self, kind: str, scores: Array, chosen: Array) -> bool:
        return (
            kind == "best"
            and self.scores.shape[1:] == scores.shape[1:]
            and self.chosen.shape[1:] == chosen.shape[1:]
        )

    def is_told_by(self, output: Array) -> bool:
        return (
            output.dtype.kind in "iu"
            and output.size == self.chosen.size
            and bool((output.reshape(self.chosen.shape) == self.chosen).all())
        )

    def read(self, output: Array) -> Array:
        return output.reshape(self.chosen.shape).astype(self.chosen.dtype)

    def explained(self, chosen: Array) -> Array | None:
        return None

    def regret(self, scores: Array, chosen: Array, unit: float = 0.0) -> Array:
        """As of every decision. Ties are free: which of several equal candidates, in which order.

        A file chooses by the numbers that it shows, or by ones that round to them and tie.
        """
        axis, count = self.axis, self.chosen.shape[self.axis]
        size = scores.shape[axis]
        wide = scores.astype(np.float64) * (1 if self.largest else -1)
        if chosen.size and (chosen.min() < -size or chosen.max() >= size):
            return np.full(len(scores), np.inf)
        places = np.moveaxis(chosen % size, axis, -1)
        ranked = np.sort(np.moveaxis(wide, axis, -1), axis=-1)[..., ::-1][..., :count]
        taken = np.take_along_axis(np.moveaxis(wide, axis, -1), places, axis=-1)
        found = taken if self.ordered else np.sort(taken, axis=-1)[..., ::-1]
        with np.errstate(invalid="ignore"):  # infinite scores, of masked candidates, tie
            worse = np.where(ranked == found, 0.0, np.abs(ranked - found))
        ordered = np.sort(places, axis=-1)
        repeated = (ordered[..., 1:] == ordered[..., :-1]).any(-1, keepdims=True)
        worse = np.where(repeated, np.inf, worse)
        result: Array = worse.reshape(len(scores), -1).max(1, initial=0.0)
        return result

    def another(self) -> Array:
        other: Array = (self.chosen + 1) % self.scores.shape[self.axis]
        return other

    def margin(self) -> float:
        return 0.0  # candidates tie often enough; nothing is made of it

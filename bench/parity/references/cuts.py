"""Numbers held against each other, or cut into steps: masks, comparisons, rounding, integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references.decision import Decision

# Of one number; what is chosen is the step that it lies on.
STEPS = ("nearest", "down", "up", "to zero", "sign", "nonzero")
# Of two, which stand in `scores` side by side; what is chosen is true or false.
COMPARISONS = ("at least", "equal")
# Kinds that another kernel can decide otherwise by exactly equal numbers and be wrong: an output
# alone does not show whether it did.
_BY_EQUALITY = ("equal", "nonzero")
# The share of equal pairs that may be called unequal where an artefact shows fewer digits than it
# has: maxima within a rounding error of each other, among all maxima.
_HIDDEN = 0.25


@dataclass(frozen=True, eq=False, kw_only=True)
class Cut(Decision):
    """Numbers of N samples, each turned into one of a few values by where it lies.

    Attributes:
        scores: [N, ...]; of a comparison [N, 2, ...], its two sides.
        chosen: [N, ...].
        kind: One of `STEPS` or `COMPARISONS`.
        negated: Whether the network makes the contrary of `chosen`.
    """

    kind: str
    negated: bool = False

    @property
    def is_open(self) -> bool:
        """As of every decision; numbers that are whole already are only given another type."""
        whole = self.kind not in COMPARISONS and self.kind not in ("sign", "nonzero")
        if whole and bool((self.scores == self.chosen).all()):
            return False
        return super().is_open

    def looks_like(self, kind: str, scores: Array, chosen: Array) -> bool:
        same = self.scores.shape == scores.shape and self.chosen.shape == chosen.shape
        if kind != self.kind or not same:
            return False
        if kind != "at least":
            return True
        straight, turned = (self._distance(side) for side in (scores, scores[:, ::-1]))
        return straight <= turned  # else it asks for the contrary, but for equal numbers

    def _distance(self, scores: Array) -> float:
        with np.errstate(invalid="ignore"):
            off = np.abs(self.scores.astype(np.float64) - scores)
        return float(np.nan_to_num(off, posinf=0.0).sum())

    def is_told_by(self, output: Array) -> bool:
        if self.kind in _BY_EQUALITY or output.shape != self.chosen.shape:
            return False
        made = ~self.chosen if self.negated else self.chosen
        return bool((output == made).all())

    def read(self, output: Array) -> Array:
        if self.kind in COMPARISONS:
            made: Array = output.astype(bool)
            return ~made if self.negated else made
        return output.astype(self.chosen.dtype)

    def explained(self, chosen: Array) -> Array | None:
        numbers = self.scores.astype(np.float64)
        step = chosen.astype(np.float64)
        if self.kind in COMPARISONS:
            left, right = numbers[:, 0], numbers[:, 1]
            holds = (left == right) if self.kind == "equal" else (left >= right)
            meeting = np.where(holds == chosen, np.nan, (left + right) / 2)
            return np.where(np.isnan(meeting)[:, None], numbers, meeting[:, None])
        if self.kind in ("sign", "nonzero"):
            return np.where(self._worse_step(numbers, chosen) > 0, 0.0, numbers)
        low, high = {
            "nearest": (step - 0.5, step + 0.5),
            "down": (step, step + 1),
            "up": (step - 1, step),
        }.get(self.kind, (np.where(step > 0, step, step - 1), np.where(step < 0, step, step + 1)))
        return np.clip(numbers, low, high)

    def regret(self, scores: Array, chosen: Array, unit: float = 0.0) -> Array:
        """As of every decision. Where an artefact decides as the reference, it decides rightly.

        Elsewhere its number must lie at the other step. Numbers that are exactly equal in both,
        such as the zeros behind a ReLU, leave nothing to rounding.
        """
        own, wide = self.scores.astype(np.float64), scores.astype(np.float64)
        other = chosen != self.chosen
        with np.errstate(invalid="ignore"):
            if self.kind in COMPARISONS:
                worse, size = self._worse_comparison(own, wide, chosen, other, exact=not unit)
            else:
                worse, size = self._worse_step(wide, chosen), np.abs(wide)
                worse = np.where((wide == 0) & (own == 0), np.inf, worse)
            beyond = np.maximum(worse - 2 * unit * size, 0.0)
        found = np.where(other, np.where(np.isnan(beyond), np.inf, beyond), 0.0)
        result: Array = found.reshape(len(found), -1).max(1, initial=0.0)
        return result

    def _worse_comparison(
        self, own: Array, wide: Array, chosen: Array, other: Array, *, exact: bool
    ) -> tuple[Array, Array]:
        """By how much each pair contradicts what was chosen, and how large its numbers are."""
        left, right = wide[:, 0], wide[:, 1]
        size = np.maximum(np.abs(left), np.abs(right))
        ties = left == right
        worse = np.where(ties, 0.0, np.abs(left - right))
        if self.kind == "equal":
            lost = ties & other & ~chosen.astype(bool)
            axes = tuple(range(1, lost.ndim))
            share = lost.sum(axes) / np.maximum(self.chosen.astype(bool).sum(axes), 1)
            hidden = np.zeros(len(lost), bool) if exact else share <= _HIDDEN
            worse = np.where(lost & ~hidden.reshape(-1, *[1] * len(axes)), np.inf, worse)
            return np.where(~ties & ~chosen.astype(bool), 0.0, worse), size
        right_by_own = (left >= right) == chosen.astype(bool)
        tied_in_both = ties & (own[:, 0] == own[:, 1]) & (exact | (left == 0))
        worse = np.where(ties & (exact | tied_in_both), np.inf, worse)
        return np.where(right_by_own, 0.0, worse), size

    def _worse_step(self, number: NDArray[np.float64], chosen: Array) -> Array:
        step = chosen.astype(np.float64)
        if self.kind == "nearest":
            worse = np.abs(number - step) - 0.5
        elif self.kind == "down":
            worse = np.maximum(step - number, number - step - 1)
        elif self.kind == "up":
            worse = np.maximum(number - step, step - 1 - number)
        elif self.kind == "to zero":
            inner = np.where(step == 0, -1.0, np.abs(step))  # 0 is reached from both sides
            worse = np.maximum(inner - number * np.sign(step), np.abs(number) - np.abs(step) - 1)
            worse = np.where(step == 0, np.abs(number) - 1, worse)
        else:  # a sign, or whether there is anything: each lies at zero
            right = np.sign(number) == step if self.kind == "sign" else (number != 0) == (step != 0)
            return np.where(right, 0.0, np.abs(number))
        return np.where(step == np.rint(step), np.maximum(worse, 0.0), np.inf)

    def another(self) -> Array:
        if self.chosen.dtype == bool:
            return ~self.chosen
        return (self.chosen + 1).astype(self.chosen.dtype)

    def margin(self) -> float:
        numbers = self.scores.astype(np.float64)
        if self.kind in COMPARISONS:
            with np.errstate(invalid="ignore"):
                found = np.abs(numbers[:, 0] - numbers[:, 1])
        elif self.kind == "nearest":
            found = np.abs(numbers - np.floor(numbers) - 0.5)
        elif self.kind in ("sign", "nonzero"):
            found = np.abs(numbers)
        else:
            found = np.abs(numbers - np.rint(numbers))
        return float(np.nan_to_num(found, nan=np.inf).min(initial=np.inf))

"""How like the answers of a quantised graph are to those of the graph it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array

_APART = 10.0  # how many times the next larger the scale of a part must be, to be judged by itself
_MOST_PARTS = 1024  # along an axis; beyond it an axis counts positions, not kinds of answers


@dataclass(frozen=True, slots=True)
class Likeness:
    """Quantised answers beside those in float32, over held-out images.

    Attributes:
        sqnr_db: Signal to quantisation noise, in decibels; the mean over the parts.
        worst_db: That of the worst part.
        parts: How many parts of very different scale the outputs have, each judged by itself.
        agreement: Share of images whose largest answer is the same, 0 to 1; None where no output
            is one row of scores for each image.
    """

    sqnr_db: float
    worst_db: float
    parts: int
    agreement: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "sqnr_db": round(self.sqnr_db, 2),
            "worst_db": round(self.worst_db, 2),
            "parts": self.parts,
            "agreement": None if self.agreement is None else round(self.agreement, 5),
        }


def likeness(wanted: Sequence[Array], found: Sequence[Array]) -> Likeness:
    """Compare outputs, each [N, ...], with those in float32.

    Args:
        wanted: Of the float graph.
        found: Of the quantised one.
    """
    figures, agreements = [], []
    for truth, other in zip(wanted, found, strict=True):
        if truth.dtype.kind != "f":
            continue
        exact = truth.astype(np.float64)
        error = (other.astype(np.float64) - exact) ** 2
        for part in parts_of(exact):
            signal, noise = float((exact[part] ** 2).sum()), float(error[part].sum())
            if signal > 0:
                figures.append(decibels(signal, noise))
        if truth.ndim == 2 and truth.shape[1] > 1:
            agreements.append(float((truth.argmax(1) == other.argmax(1)).mean()))
    if not figures:
        figures = [decibels(1.0, 0.0)]
    return Likeness(
        float(np.mean(figures)),
        float(np.min(figures)),
        len(figures),
        min(agreements) if agreements else None,
    )


def decibels(signal: float, noise: float) -> float:
    """A ratio of squares in decibels; 200 without noise, -200 where the noise is not finite."""
    if not np.isfinite(noise):
        return -200.0
    if noise <= 0:
        return 200.0
    return float(np.clip(10 * np.log10(max(signal, 1e-300) / noise), -200, 200))


def parts_of(output: NDArray[np.float64]) -> list[tuple[Any, ...]]:
    """Index expressions of the parts of an output whose scales are far apart.

    Boxes in pixels and scores from 0 to 1 may stand in one tensor; whatever is wrong with the
    scores would drown in the boxes. The axis along which scales differ most is searched.

    Args:
        output: [N, ...]; of rank 2 it is one part.
    """
    whole: list[tuple[Any, ...]] = [(slice(None),)]
    if output.ndim < 3:
        return whole
    best, spread = 0, _APART
    for axis in range(1, output.ndim):
        if 1 < output.shape[axis] <= _MOST_PARTS:
            size = _rms(output, axis)
            size = size[size > 0]
            if len(size) and size.max() / size.min() > spread:
                best, spread = axis, float(size.max() / size.min())
    if not best:
        return whole
    size = _rms(output, best)
    order = np.argsort(size)
    logs = np.log(np.maximum(size[order], 1e-30))
    cuts = np.flatnonzero(np.diff(logs) > np.log(_APART)) + 1
    lead = (slice(None),) * best
    return [(*lead, np.sort(group)) for group in np.split(order, cuts)]


def _rms(output: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    others = tuple(at for at in range(output.ndim) if at != axis)
    result: NDArray[np.float64] = np.sqrt((output**2).mean(axis=others))
    return result

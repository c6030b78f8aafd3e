"""Bands of an output: what has one scale is compared on that scale.

A tensor may hold quantities of several kinds along one axis, such as boxes in pixels beside
scores: what is a rounding error of the one may be larger than the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array

# Neighbours in the order of their scales that are this far apart belong to different bands: the
# classes of a classifier or the channels of a layer spread over decades without such a gap.
_GAP = 32.0
# Shares of an index's numbers that are exactly zero.
_OFTEN = 0.5
_FAR = 0.25
_MOST_BANDS = 6  # the widest gaps count


@dataclass(frozen=True, slots=True)
class Bands:
    """Groups of indices along one axis of an output.

    Attributes:
        axis: Of the output [N, ...]; None where the whole output is one band.
        members: The indices of each band, those of the largest scale first.
    """

    axis: int | None
    members: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return max(len(self.members), 1)

    def in_rows(self, output: Array) -> Array:
        """An output [N, ...] as [N, indices of the axis, all the rest]; whole, [N, 1, all]."""
        if self.axis is None:
            return output.reshape(len(output), 1, -1)
        return np.moveaxis(output, self.axis, 1).reshape(len(output), output.shape[self.axis], -1)

    def added(self, rows: Array) -> Array:
        """Sums over each band, [N, B], of numbers [N, indices of the axis]."""
        return self._reduced(rows, np.add)

    def largest(self, rows: Array) -> Array:
        """Maxima over each band, [N, B], of numbers [N, indices of the axis]."""
        return self._reduced(rows, np.maximum)

    def _reduced(self, rows: Array, reduction: np.ufunc) -> Array:
        if self.axis is None:
            return rows
        columns = [reduction.reduce(rows[:, list(band)], axis=1) for band in self.members]
        return np.stack(columns, axis=1)


ONE_BAND = Bands(None, ())


def bands_of(truth: Array) -> Bands:
    """The bands of one output, from its truth [N, ...]: of the axis with the widest gap of scales.

    An index that is zero far more often than the others, such as a channel behind a ReLU that
    hardly ever fires, makes no band: its few numbers are as far off as those it was shut off with.
    """
    squares = np.where(np.isinf(truth), 0.0, truth).astype(np.float64) ** 2
    found = ONE_BAND
    widest = _GAP
    for axis in range(1, truth.ndim):
        if truth.shape[axis] < 2:
            continue
        others = tuple(other for other in range(truth.ndim) if other != axis)
        scales = np.sqrt(squares.mean(axis=others))
        gap, members = _split(scales, _is_gated((squares == 0).mean(axis=others)))
        if gap >= widest:
            widest, found = gap, Bands(axis, members)
    return found


def _is_gated(zeros: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which indices are zero most of the time, and far more often than the others."""
    result: NDArray[np.bool_] = (zeros > _OFTEN) & (zeros > np.median(zeros) + _FAR)
    return result


def _split(
    scales: NDArray[np.float64], gated: NDArray[np.bool_]
) -> tuple[float, tuple[tuple[int, ...], ...]]:
    """The widest gap, and the indices between gaps, the largest scales first.

    Those that are gated go with the smallest scale above their own.
    """
    order = np.argsort(-scales, kind="stable")
    dense = order[~gated[order]]
    sizes = scales[dense]
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = sizes[:-1] / sizes[1:]  # infinite before the first zero, NaN between zeros
    gaps = np.where(np.isinf(gaps), _GAP, np.where(np.isnan(gaps), 1.0, gaps))
    wide = np.flatnonzero(gaps >= _GAP)
    cuts = np.sort(wide[np.argsort(-gaps[wide], kind="stable")][: _MOST_BANDS - 1]) + 1
    members = [part.tolist() for part in np.split(dense, cuts)]
    for index in order[gated[order]]:
        above = [band for band in members if scales[band].max() >= scales[index]]
        (above or members)[-1 if above else 0].append(int(index))
    return float(gaps.max(initial=1.0)), tuple(tuple(sorted(band)) for band in members)

"""The factors of rows and columns fitted to the same weights together, and how exact that is.

A row and a column that have one large weight in common, and little beside it, may grow and shrink
against each other: fitted in turn they creep, and each is exact only as far as the rest tells.
The normal equations of `log|found| = log|weights| + rows[o] + columns[i]` are a graph's Laplacian,
which has the weights as its edges: eliminated on the longer side, solved on the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_LEAST = 1e-8  # of a row's own power: what no weight ties to the rest stays free, not infinite


def joint_step(power: Numbers, rows: Numbers, columns: Numbers) -> tuple[Numbers, Numbers]:
    """By how much all factors should move for what their weights are off together.

    Args:
        power: Of each row and column, the sum of the squares of the weights that they share, in
            standard deviations of a weight, [groups, outputs, inputs].
        rows: Of each row, the sum of the products of its weights and what they are off, in the
            same unit, [groups, outputs].
        columns: Of each column, [groups, inputs].
    """
    if power.shape[1] > power.shape[2]:
        return joint_step(power.transpose(0, 2, 1), columns, rows)[::-1]
    theirs, shares = power.sum(1), _shares(power)
    pulls = rows[:, :, None] - shares @ columns[:, :, None]
    solved = np.linalg.solve(_eliminated(power, shares), pulls)[:, :, 0]
    left: Numbers = np.where(power.sum(2) > 0, solved, 0.0)
    off = np.divide(columns, theirs, where=theirs > 0, out=np.zeros_like(theirs))
    return left, off - (left[:, None] @ shares)[:, 0]


def joint_errors(power: Numbers) -> tuple[Numbers, Numbers]:
    """Standard errors of the logarithms of the factors, beside the mean of all rows.

    Args:
        power: As `joint_step` takes it.

    Returns:
        Of rows, [groups, outputs], and of columns, [groups, inputs]; infinite where one has no
        power.
    """
    if power.shape[1] > power.shape[2]:
        return joint_errors(power.transpose(0, 2, 1))[::-1]
    ours, theirs, shares = power.sum(2), power.sum(1), _shares(power)
    total = ours.sum(1)[:, None, None]
    spread = np.linalg.inv(_eliminated(power, shares)) - 1 / np.where(total > 0, total, 1.0)
    with np.errstate(divide="ignore"):
        alone, others = 1 / ours, 1 / theirs
    rows = np.maximum(np.diagonal(spread, axis1=1, axis2=2), alone)
    columns = others + np.maximum(((spread @ shares) * shares).sum(1), 0.0)
    return np.sqrt(rows), np.sqrt(columns)


def _shares(power: Numbers) -> Numbers:
    """What part of a column's power each row has."""
    theirs = power.sum(1, keepdims=True)
    result: Numbers = np.divide(power, theirs, where=theirs > 0, out=np.zeros_like(power))
    return result


def _eliminated(power: Numbers, shares: Numbers) -> Numbers:
    """The equations of the rows alone, with the mean of all rows, as their power is, held at 0."""
    ours = power.sum(2)
    total = ours.sum(1)[:, None, None]
    held = ours[:, :, None] * ours[:, None] / np.where(total > 0, total, 1.0)
    system: Numbers = held - shares @ power.transpose(0, 2, 1)
    diagonal = np.arange(ours.shape[1])
    system[:, diagonal, diagonal] += np.where(ours > 0, ours * (1 + _LEAST), 1.0)
    return system

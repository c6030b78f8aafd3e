"""Weights rounded to eight bits: each by itself, or so that each error is made up for by the next.

The second is the closed form of GPTQ (Frantar et al., arXiv 2210.17323) in the shape that Chee et
al. give it (QuIP, arXiv 2307.13304, section 3): with `H = (I + U) D (I + U)^T`, weight `k` of a row
is rounded after the errors of those before it, times column `k` of `U`, were added to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array

Doubles = NDArray[np.float64]

_BLOCK = 64  # columns between two products with all errors so far
DAMPING = 0.01  # of the mean of the diagonal, added to it


def row_scales(rows: Array, levels: int) -> Doubles:
    """The step of each row, [groups, outputs], so that its largest weight is `levels` steps.

    A row of zeros has the step 1.

    Args:
        rows: [groups, outputs, inputs of a row].
        levels: The largest code: 127 for eight bits.
    """
    largest = np.abs(rows).max(2).astype(np.float64)
    result: Doubles = np.where(largest > 0, largest, levels) / levels
    # A step is stored as float32, and must not be one that its reader flushes to zero.
    return np.maximum(result, 2.0**-120).astype(np.float32).astype(np.float64)


def rounded_to_nearest(rows: Array, scales: Doubles, levels: int) -> NDArray[np.int8]:
    """Codes of rows [groups, outputs, inputs], each weight by itself."""
    codes = np.rint(rows / scales[:, :, None])
    return np.clip(codes, -levels, levels).astype(np.int8)


def rounded_together(
    rows: Array, scales: Doubles, levels: int, second_moments: Array
) -> NDArray[np.int8]:
    """Codes of rows, so that what they answer to their inputs changes least.

    Args:
        rows: [groups, outputs, K].
        scales: The step of each row, [groups, outputs].
        levels: The largest code.
        second_moments: Of the inputs, `E[x x^T]`, [groups, K, K]; any common factor.

    Returns:
        Codes as `rows`.
    """
    diagonal = np.einsum("gkk->gk", second_moments)
    mean = diagonal.mean(1)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    codes = np.zeros(rows.shape, np.int8)
    for group in range(len(rows)):
        at = order[group]
        kind = second_moments.dtype
        moments = second_moments[group][np.ix_(at, at)]
        moments[np.diag_indices_from(moments)] += kind.type(DAMPING * mean[group] or 1.0)
        feedback = _feedback(moments)
        wanted = rows[group][:, at].astype(kind) / scales[group][:, None].astype(kind)
        codes[group][:, at] = _round(wanted, feedback, levels)
    return codes


def _feedback(moments: Array) -> Array:
    """`I + U` of a positive definite matrix [K, K]."""
    lower = np.linalg.cholesky(moments[::-1, ::-1])
    upper = lower[::-1, ::-1]
    result: Array = upper / np.diagonal(upper)
    return result


def _round(wanted: Array, feedback: Array, levels: int) -> NDArray[np.int8]:
    """Round [rows, K], in units of a step, column by column."""
    rows, columns = wanted.shape
    codes = np.zeros((rows, columns), np.int8)
    errors = np.zeros_like(wanted)
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        block = wanted[:, start:stop] + errors[:, :start] @ feedback[:start, start:stop]
        for at in range(start, stop):
            target = block[:, at - start]
            code = np.clip(np.rint(target), -levels, levels)
            codes[:, at] = code
            errors[:, at] = wanted[:, at] - code
            rest = feedback[at, at + 1 : stop]
            block[:, at - start + 1 :] += errors[:, at : at + 1] * rest
    return codes

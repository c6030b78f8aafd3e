"""Infinities that are right: those of a mask, or of the logarithm of nothing, where both have them.

They say as much as any number, and no distance can be measured with them.
"""

from __future__ import annotations

import numpy as np

from edgerep.artefacts.tensors import Array


def without_equal_infinities(found: Array, wanted: Array) -> tuple[Array, Array]:
    """Two arrays of one shape with 0 where both are the same infinity; others stay, and NaN."""
    if wanted.dtype.kind != "f" or np.isfinite(wanted).all():
        return found, wanted
    same = np.isinf(wanted) & (found == wanted)
    return np.where(same, 0, found), np.where(same, 0, wanted)

"""What is measured of an output, probe by probe and band by band; blocks of probes add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.figures.bands import ONE_BAND, Bands
from edgerep.bench.parity.figures.infinities import without_equal_infinities

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measures:
    """Sums over the numbers of each of N probes that lie in each of B bands; no output is kept.

    Attributes:
        error: Squared differences from the truth, [N, B].
        signal: Squares of the truth, [N, B].
        value: Squares of the output, [N, B].
        product: Products of the two, [N, B].
        peak: The largest absolute difference, [N, B]; NaN if one is.
        agrees: Whether the largest number stands at the same place, [N].
    """

    error: Numbers
    signal: Numbers
    value: Numbers
    product: Numbers
    peak: Numbers
    agrees: NDArray[np.bool_]

    def band(self, index: int) -> Measures:
        """The measures of one band alone."""
        part = slice(index, index + 1)
        return Measures(
            self.error[:, part], self.signal[:, part], self.value[:, part],
            self.product[:, part], self.peak[:, part], self.agrees,
        )  # fmt: skip

    def whole(self) -> Measures:
        """The measures of all bands together, as one."""
        return Measures(
            self.error.sum(1, keepdims=True), self.signal.sum(1, keepdims=True),
            self.value.sum(1, keepdims=True), self.product.sum(1, keepdims=True),
            self.peak.max(1, keepdims=True), self.agrees,
        )  # fmt: skip


def measure(outputs: Array, truth: Array, bands: Bands = ONE_BAND) -> Measures:
    """Measure one output against the truth, in float64; equal infinities count as zeros.

    Args:
        outputs: [N, ...].
        truth: [N, ...].
        bands: Along one axis of the output.

    Raises:
        ValueError: The shapes differ.
    """
    if outputs.shape != truth.shape:
        raise ValueError(f"outputs are {outputs.shape}, the reference gives {truth.shape}")
    both = without_equal_infinities(outputs, truth)
    value, wanted = (bands.in_rows(array.astype(np.float64)) for array in both)
    with np.errstate(all="ignore"):  # infinities and NaN flow into the result, where they fail
        error = value - wanted
        flat_value, flat_wanted = value.reshape(len(value), -1), wanted.reshape(len(value), -1)
        return Measures(
            error=bands.added((error**2).sum(2)),
            signal=bands.added((wanted**2).sum(2)),
            value=bands.added((value**2).sum(2)),
            product=bands.added((value * wanted).sum(2)),
            peak=bands.largest(np.abs(error).max(2, initial=0.0)),
            agrees=flat_value.argmax(1) == flat_wanted.argmax(1),
        )


def joined(parts: Sequence[Measures]) -> Measures:
    """The measures of several blocks of probes, one after the other."""
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Measures)
    }
    return Measures(**columns)

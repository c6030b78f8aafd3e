"""Hold what was measured of an output to its bounds, whole and band by band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgerep.bench.parity.figures.bands import Bands
from edgerep.bench.parity.figures.measures import Measures, joined
from edgerep.bench.parity.figures.tolerance import (
    Difference,
    Tolerance,
    band_tolerance,
    difference_of,
    exact,
    tolerance_from,
)
from edgerep.bench.parity.output_findings import BandParity, BatchParity, OutputParity


def judged(
    name: str,
    precision: str,
    bands: Bands,
    count: Sequence[int],
    own_float32: Sequence[Measures],
    measured: Mapping[int, Sequence[Measures]],
    least_error: float = 0.0,
) -> OutputParity:
    """One output of an artefact, judged.

    Args:
        name: Of the output.
        precision: Of the artefact.
        bands: Of the output.
        count: How many numbers a probe has in each band.
        own_float32: The reference in float32 against itself, block by block; none for integers.
        measured: At each batch size, batch by batch.
        least_error: Of the runtime's own kernel, in each number, however small the number is.
    """
    whole = {size: joined(parts) for size, parts in measured.items()}
    if not own_float32:
        return _output(name, exact(precision), whole, {}, ())
    own = joined(own_float32)
    tolerance = tolerance_from(precision, own, sum(count), least_error)
    limits = _limits(precision, bands, count, own, least_error)
    found = {
        size: [difference_of(measures.band(index)) for index in range(len(limits))]
        for size, measures in whole.items()
    }
    parts = tuple(
        _band(bands, index, count, own, limits[index], [one[index] for one in found.values()])
        for index in range(len(limits))
    )
    kept = {
        size: all(one.keeps_to(limit) for one, limit in zip(differences, limits, strict=True))
        for size, differences in found.items()
    }
    return _output(name, tolerance, whole, kept, parts)


def _limits(
    precision: str, bands: Bands, count: Sequence[int], own: Measures, least_error: float
) -> tuple[Tolerance, ...]:
    """The bounds of each band; none where the whole output is one."""
    if len(bands) == 1:
        return ()
    scales = [_scale(own, index, count) for index in range(len(bands))]
    least = min((scale for scale in scales if scale), default=0.0)
    return tuple(
        band_tolerance(precision, own.band(index), count[index], least, least_error)
        for index in range(len(bands))
    )


def _scale(own: Measures, index: int, count: Sequence[int]) -> float:
    """The root mean square of a band in the probe where it is largest."""
    return float(np.sqrt(own.signal[:, index].max() / count[index]))


def _band(
    bands: Bands,
    index: int,
    count: Sequence[int],
    own: Measures,
    limit: Tolerance,
    found: Sequence[Difference],
) -> BandParity:
    return BandParity(
        axis=bands.axis or 0,
        members=bands.members[index],
        scale=_scale(own, index, count),
        tolerance=limit,
        rel_l2=float(np.max([one.rel_l2 for one in found])),
        max_abs=float(np.max([one.max_abs for one in found])),
        passed=all(one.keeps_to(limit) for one in found),
    )


def _output(
    name: str,
    tolerance: Tolerance,
    measured: Mapping[int, Measures],
    kept: Mapping[int, bool],
    bands: tuple[BandParity, ...],
) -> OutputParity:
    batches = []
    for size, measures in measured.items():
        difference = difference_of(measures)
        passed = difference.within(tolerance) and kept.get(size, True)
        batches.append(BatchParity(size, difference, passed, len(measures.agrees)))
    return OutputParity(name, tolerance, tuple(batches), bands)

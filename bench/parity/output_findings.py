"""What a comparison found of one output, or of one choice: values, and their JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgerep.bench.parity.figures.tolerance import Difference, Tolerance


@dataclass(frozen=True, slots=True)
class BatchParity:
    """The comparison of one output at one batch size; passed if all bounds hold.

    Attributes:
        batch: The size.
        difference: Over all probes that were run at it.
        passed: Both bounds of the output hold, and those of each of its bands.
        rows: How many answers were compared.
    """

    batch: int
    difference: Difference
    passed: bool
    rows: int

    def to_json(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            **asdict(self.difference),
            "passed": self.passed,
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True)
class BandParity:
    """A part of an output on its own scale, at all batch sizes: boxes, or the scores beside them.

    Attributes:
        axis: Of the output [N, ...], along which the bands lie.
        members: The indices on that axis.
        scale: Root mean square of the reference in the probe where it is largest.
        tolerance: Anchored to the reference's float32 error in this band.
        rel_l2: Relative L2 difference of the worst probe.
        max_abs: Largest absolute difference of any one number.
        passed: Both bounds hold.
    """

    axis: int
    members: tuple[int, ...]
    scale: float
    tolerance: Tolerance
    rel_l2: float
    max_abs: float
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of an artefact against the same output of the reference.

    Attributes:
        name: As the artefact calls it.
        tolerance: Anchored to the reference's float32 error and scale in this output; zero for
            integers, which must be equal.
        batches: The comparison at each batch size.
        bands: Its parts where it holds quantities of different scales; else none.
    """

    name: str
    tolerance: Tolerance
    batches: tuple[BatchParity, ...]
    bands: tuple[BandParity, ...] = ()

    @property
    def passed(self) -> bool:
        return all(batch.passed for batch in self.batches)

    @property
    def severity(self) -> float:
        """The largest error, as a share of its bound; infinite where the output has not passed."""
        if not self.passed:
            return math.inf
        if (least := self.tolerance.least_sqnr_db) is not None:
            return max(10 ** ((least - b.difference.sqnr_db) / 20) for b in self.batches)
        found = [(b.difference.rel_l2, b.difference.max_abs, self.tolerance) for b in self.batches]
        found += [(band.rel_l2, band.max_abs, band.tolerance) for band in self.bands]
        return max(
            max(_share(rel_l2, bounds.rel_l2), _share(max_abs, bounds.max_abs))
            for rel_l2, max_abs, bounds in found
        )

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["batches"] = [batch.to_json() for batch in self.batches]
        fields["bands"] = [band.to_json() for band in self.bands]
        return {**fields, "passed": self.passed}


@dataclass(frozen=True, slots=True)
class ChoiceParity:
    """One choice that an artefact makes on its way: the best queries, the class of each pixel.

    Attributes:
        name: The operator and the tensor that it chooses by; or the output that is the choice.
        before: What it chooses by, compared as an output is; None where the runtime does not show
            it.
        rows: How many answers were compared.
        otherwise: In how many of these the reference by itself chooses otherwise, because
            candidates tie or nearly tie; there the reference was run with the artefact's choice.
        regret: How much better the choice could have been, at most: by the artefact's own scores,
            or where these are not shown by the reference's.
        allowed: How large `regret` may be: 0 by its own scores, else what rounding may change.
    """

    name: str
    before: OutputParity | None
    rows: int
    otherwise: int
    regret: float
    allowed: float

    @property
    def passed(self) -> bool:
        return (self.before is None or self.before.passed) and self.regret <= self.allowed

    def to_json(self) -> dict[str, Any]:
        before = None if self.before is None else self.before.to_json()
        return {**asdict(self), "before": before, "passed": self.passed}


def _share(error: float, bound: float) -> float:
    return error / bound if bound else 0.0  # an exact output that passed has no error

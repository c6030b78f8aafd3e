"""What was measured so far, of the outputs of the reference and of each artefact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.figures.bands import ONE_BAND, Bands, bands_of
from edgerep.bench.parity.figures.measures import Measures, joined, measure
from edgerep.bench.parity.figures.tolerance import Tolerance, exact, tolerance_from
from edgerep.bench.parity.following import Followed
from edgerep.bench.parity.judgement import judged
from edgerep.bench.parity.output_findings import OutputParity
from edgerep.bench.sessions.session import Overflow

Sizes = dict[int, list[Measures]]  # what was measured at each batch size


@dataclass(frozen=True, eq=False)
class OutputTally:
    """What was measured of one output so far; its lists grow.

    Attributes:
        bands: Found in the first block of probes.
        count: How many numbers a probe has in each band.
        is_float: Integers must be equal.
        own_float32: The reference in float32 against itself in float64, block by block.
        margins: Of scores, how near they are to another decision, block by block.
    """

    bands: Bands
    count: tuple[int, ...]
    is_float: bool
    own_float32: list[Measures] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)

    def add_own(self, found: Array, truth: Array) -> None:
        if self.is_float:
            self.own_float32.append(measure(found, truth, self.bands))

    def bounds(self, precision: str) -> Tolerance:
        """The bounds of the whole; of integers none is allowed to be off."""
        if not self.is_float:
            return exact(precision)
        return tolerance_from(precision, joined(self.own_float32), sum(self.count))

    def may_fall_otherwise(self, precision: str) -> bool:
        """Whether rounding may turn the decision by these scores: both sides may be off."""
        return min(self.margins, default=0.0) <= 2 * self.bounds(precision).max_abs

    def judged(
        self,
        name: str,
        precision: str,
        measured: dict[int, list[Measures]],
        least_error: float = 0.0,
    ) -> OutputParity:
        return judged(
            name, precision, self.bands, self.count, self.own_float32, measured, least_error
        )


@dataclass(eq=False)
class ArtefactTally:
    """What was measured of one artefact so far.

    Attributes:
        outputs: Of each output, at each batch size.
        before: Of the scores of each choice that is followed, at each batch size.
        regret: Of each of these choices: how much better it could have been, at most.
        otherwise: Of each: how many rows the reference by itself answers with another choice.
        rows: How many rows were run.
        overflows: What the runtime saw overflow, by its place in the graph, at its largest.
        overflown: The probes on which a layer or a sum did.
    """

    outputs: list[Sizes] = field(default_factory=list)
    before: list[Sizes] = field(default_factory=list)
    regret: list[float] = field(default_factory=list)
    otherwise: list[int] = field(default_factory=list)
    rows: int = 0
    overflows: dict[int, Overflow] = field(default_factory=dict)
    overflown: set[int] = field(default_factory=set)

    def note(self, overflows: Sequence[Overflow], probes: NDArray[np.int64]) -> None:
        """Add what overflowed in one batch of these probes."""
        for one in overflows:
            known = self.overflows.get(one.at)
            if known is None or known.largest < one.largest:
                self.overflows[one.at] = one
        if any(one.sums for one in overflows):
            self.overflown.update(probes.tolist())

    def add(
        self,
        size: int,
        followed: Followed,
        outputs: Sequence[OutputTally],
        choices: Sequence[OutputTally | None],
        pairs: Sequence[tuple[int, int]],
    ) -> None:
        """Add one batch."""
        self.outputs = self.outputs or [{} for _ in outputs]
        self.before = self.before or [{} for _ in pairs]
        self.regret = self.regret or [0.0 for _ in pairs]
        self.otherwise = self.otherwise or [0 for _ in pairs]
        self.rows += size
        for sizes, tally, found, truth in zip(
            self.outputs, outputs, followed.outputs, followed.truth, strict=True
        ):
            sizes.setdefault(size, []).append(measure(found, truth, tally.bands))
        for index, (regrets, otherwise) in enumerate(
            zip(followed.regrets, followed.otherwise, strict=True)
        ):
            self.regret[index] = max(self.regret[index], float(regrets.max()))
            self.otherwise[index] += otherwise
        for index, both in enumerate(followed.before):
            if both is None:
                continue
            found, truth = both
            scores = choices[pairs[index][1]]
            bands = scores.bands if scores is not None else ONE_BAND
            self.before[index].setdefault(size, []).append(measure(found, truth, bands))


def tally_of(truth: Array) -> OutputTally:
    """An empty tally for an output, [N, ...], with the bands that its first block shows."""
    is_float = truth.dtype.kind == "f"
    bands = bands_of(truth) if is_float else ONE_BAND
    total = int(np.prod(truth.shape[1:]))
    if bands.axis is None:
        return OutputTally(bands, (total,), is_float)
    each = total // truth.shape[bands.axis]
    return OutputTally(bands, tuple(each * len(band) for band in bands.members), is_float)

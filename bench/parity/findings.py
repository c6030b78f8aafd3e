"""What a comparison found of an artefact: values, and their JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgerep.bench.parity.figures.tolerance import Difference, Tolerance
from edgerep.bench.parity.int8_findings import LayerParity, StepParity


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


@dataclass(frozen=True, slots=True)
class EmulatedParity:
    """A float16 file as a device computes it, emulated: every result rounded.

    Attributes:
        accumulators: In which type products are summed: "float32", or "float16" as the poorest
            hardware does.
        how: What computed it, in one sentence.
        decides: Whether the artefact passes only if this does; else it is for information.
        probes: How many were run.
        outputs: Every output by itself.
        choices: As of the artefact.
    """

    accumulators: str
    how: str
    decides: bool
    probes: int
    outputs: tuple[OutputParity, ...]
    choices: tuple[ChoiceParity, ...] = ()

    @property
    def passed(self) -> bool:
        return all(o.passed for o in self.outputs) and all(c.passed for c in self.choices)

    @property
    def worst(self) -> OutputParity:
        return max(self.outputs, key=lambda output: output.severity)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "outputs": [output.to_json() for output in self.outputs],
            "choices": [choice.to_json() for choice in self.choices],
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True)
class QuantisedParity:
    """An int8 artefact beside the Q/DQ graph it was made from, and beside the float network.

    Attributes:
        graph: The name of the Q/DQ graph that was evaluated in exact arithmetic; None where it is
            not at hand.
        why_not: Why the artefact is not that graph, or why nothing was compared with it.
        is_that_graph: False where `why_not` is a fault.
        outputs: Each output against the exact evaluation with the artefact's integers.
        steps: Each quantiser against it.
        layers: The weights of each layer against the float network's, where that is at hand.
        requirement: Where the bounds beside the float network come from, in words; "" where it was
            not compared with one.
    """

    graph: str | None
    why_not: str
    is_that_graph: bool
    outputs: tuple[OutputParity, ...]
    steps: tuple[StepParity, ...]
    layers: tuple[LayerParity, ...]
    requirement: str

    @property
    def passed(self) -> bool:
        exact = all(o.passed for o in self.outputs) and all(s.passed for s in self.steps)
        return self.is_that_graph and exact and all(layer.passed for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "outputs": [output.to_json() for output in self.outputs],
            "steps": [step.to_json() for step in self.steps],
            "layers": [layer.to_json() for layer in self.layers],
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True)
class ArtefactParity:
    """One artefact against the reference; the figures are those of its worst output.

    Attributes:
        path: The file as it was given; the name of a module.
        runtime: What ran it, or would have.
        precision: "fp32", "fp16", ...
        ran: False for an artefact that cannot be run on this machine: it has not passed.
        why_not: Why it was not run; None where it was.
        how: What computed the answers, in one sentence; empty where it was not run.
        tolerance: Of the worst output; None where it was not run.
        batches: The worst output's comparison at each batch size, passed only if all outputs have.
        probes: How many probes of each kind were used.
        outputs: Every output by itself, in the order of the artefact.
        images_given: How many images of their own the user gave, of which `probes` says how many
            were compared.
        choices: Those that were followed: behind them the outputs are compared with the reference
            that made the same choices.
        choices_unfollowed: How many more choices the reference makes, which this runtime does not
            show or has not, and which rounding may turn.
        unfollowed_outputs: The outputs that hang on these.
        overflow: Which layer gives a number that float16 cannot hold, in one sentence; None where
            there is none, or where nothing could be looked at.
        emulated: What emulation says of a file whose number types this runtime widens.
        not_emulated: Why it could not be emulated, where it should have been.
        quantised: What was found of an int8 artefact; None for others.
    """

    path: str
    runtime: str
    precision: str
    ran: bool
    why_not: str | None
    how: str
    tolerance: Tolerance | None
    batches: tuple[BatchParity, ...]
    probes: dict[str, int]
    outputs: tuple[OutputParity, ...]
    images_given: int = 0
    choices: tuple[ChoiceParity, ...] = ()
    choices_unfollowed: int = 0
    unfollowed_outputs: tuple[str, ...] = ()
    overflow: str | None = None
    emulated: tuple[EmulatedParity, ...] = ()
    not_emulated: str | None = None
    quantised: QuantisedParity | None = None

    @classmethod
    def of(
        cls,
        outputs: tuple[OutputParity, ...],
        *,
        path: str,
        runtime: str,
        precision: str,
        how: str,
        probes: dict[str, int],
        images_given: int = 0,
        choices: tuple[ChoiceParity, ...] = (),
        choices_unfollowed: int = 0,
        unfollowed_outputs: tuple[str, ...] = (),
        overflow: str | None = None,
        emulated: tuple[EmulatedParity, ...] = (),
        not_emulated: str | None = None,
        quantised: QuantisedParity | None = None,
    ) -> ArtefactParity:
        """The result of an artefact that ran, with the figures of its worst output."""
        worst = max(outputs, key=lambda output: output.severity)
        return cls(
            path=path,
            runtime=runtime,
            precision=precision,
            ran=True,
            why_not=None,
            how=how,
            tolerance=worst.tolerance,
            batches=tuple(
                replace(
                    batch,
                    passed=overflow is None
                    and (quantised is None or quantised.passed)
                    and all(one.passed for one in emulated if one.decides)
                    and all(output.batches[index].passed for output in outputs),
                )
                for index, batch in enumerate(worst.batches)
            ),
            probes=probes,
            outputs=outputs,
            images_given=images_given,
            choices=choices,
            choices_unfollowed=choices_unfollowed,
            unfollowed_outputs=unfollowed_outputs,
            overflow=overflow,
            emulated=emulated,
            not_emulated=not_emulated,
            quantised=quantised,
        )

    @property
    def images_compared(self) -> int:
        """How many images of the user's own were compared."""
        return self.probes.get("calibration", 0)

    @property
    def worst(self) -> OutputParity | None:
        """The output whose figures stand for the artefact; None where it was not run."""
        return max(self.outputs, key=lambda output: output.severity, default=None)

    @property
    def passed(self) -> bool:
        compared = self.overflow is None and all(batch.passed for batch in self.batches)
        compared &= all(one.passed for one in self.emulated if one.decides)
        compared &= self.quantised is None or self.quantised.passed
        return self.ran and compared and all(choice.passed for choice in self.choices)

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["choices"] = [choice.to_json() for choice in self.choices]
        fields["batches"] = [batch.to_json() for batch in self.batches]
        fields["outputs"] = [output.to_json() for output in self.outputs]
        fields["emulated"] = [one.to_json() for one in self.emulated]
        fields["quantised"] = None if self.quantised is None else self.quantised.to_json()
        fields["passed"] = self.passed if self.ran else None
        fields["images_compared"] = self.images_compared
        return fields


def _share(error: float, bound: float) -> float:
    return error / bound if bound else 0.0  # an exact output that passed has no error

"""What a comparison with the reference found: values, their JSON, and failures in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgerep.artefacts.kinds import SCHEMA
from edgerep.artefacts.records import finite_json
from edgerep.bench.parity.tolerance import Difference, Tolerance
from edgerep.errors import ParityError


@dataclass(frozen=True, slots=True)
class BatchParity:
    """The comparison of one output at one batch size; passed if both bounds hold."""

    batch: int
    difference: Difference
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {"batch": self.batch, **asdict(self.difference), "passed": self.passed}


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of an artefact against the same output of the reference.

    Attributes:
        name: As the artefact calls it.
        tolerance: Anchored to the reference's float32 error and scale in this output; zero for
            integers, which must be equal.
        batches: The comparison at each batch size.
    """

    name: str
    tolerance: Tolerance
    batches: tuple[BatchParity, ...]

    @property
    def passed(self) -> bool:
        return all(batch.passed for batch in self.batches)

    @property
    def severity(self) -> float:
        """The largest error, as a share of its bound; infinite where the output has not passed."""
        if not self.passed:
            return np.inf
        bounds = self.tolerance
        return max(
            max(_share(b.difference.rel_l2, bounds.rel_l2),
                _share(b.difference.max_abs, bounds.max_abs))
            for b in self.batches
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["batches"] = [batch.to_json() for batch in self.batches]
        return {**fields, "passed": self.passed}


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

    @property
    def worst(self) -> OutputParity | None:
        """The output whose figures stand for the artefact; None where it was not run."""
        return max(self.outputs, key=lambda output: output.severity, default=None)

    @property
    def passed(self) -> bool:
        return self.ran and all(batch.passed for batch in self.batches)

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["batches"] = [batch.to_json() for batch in self.batches]
        fields["outputs"] = [output.to_json() for output in self.outputs]
        fields["passed"] = self.passed if self.ran else None
        return fields


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The comparison of several artefacts with one reference.

    Attributes:
        reference: The name of the reference.
        artefacts: In the order they were given.
        reference_kind: "network", as it was trained; or "onnx", and then nothing is said about
            the network that the ONNX file was exported from.
    """

    reference: str
    artefacts: tuple[ArtefactParity, ...]
    reference_kind: str = "network"

    @property
    def ran(self) -> bool:
        """Whether anything could be run at all."""
        return any(artefact.ran for artefact in self.artefacts)

    @property
    def passed(self) -> bool:
        """Everything that could be run here passed, and something could."""
        return self.ran and all(artefact.passed for artefact in self.artefacts if artefact.ran)

    def require(self) -> None:
        """Raise unless the report passed.

        Raises:
            ParityError: An artefact that ran disagrees, or nothing ran; each artefact, output and
                batch that failed is named, with its error and bound.
        """
        if self.passed:
            return
        lines = [line for artefact in self.artefacts for line in _failures(artefact)]
        raise ParityError(
            f"not in agreement with {self.reference}:\n  " + "\n  ".join(lines or ["nothing ran"])
        )

    def to_json(self) -> dict[str, Any]:
        """The fields of `edgerep verify --json`."""
        tolerances = {a.precision: asdict(a.tolerance) for a in self.artefacts if a.tolerance}
        fields = {
            "schema": SCHEMA,
            "passed": self.passed,
            "reference": self.reference,
            "reference_kind": self.reference_kind,
            "artefacts": [artefact.to_json() for artefact in self.artefacts],
            "tolerance": tolerances,
        }
        result: dict[str, Any] = finite_json(fields)
        return result


def _failures(artefact: ArtefactParity) -> Iterator[str]:
    if artefact.tolerance is None:
        yield f"{artefact.path}: not run: {artefact.why_not}"
        return
    bounds = artefact.tolerance
    if not bounds.decidable:
        yield f"{artefact.path}: {undecidable(bounds)}"
        return
    for output in artefact.outputs:
        name = f", {output.name}" if len(artefact.outputs) > 1 else ""
        for batch in output.batches:
            if not batch.passed:
                found, bounds = batch.difference, output.tolerance
                yield (
                    f"{artefact.path}{name}, batch {batch.batch}: relative L2 {found.rel_l2:.2e} "
                    f"(bound {bounds.rel_l2:.2e}), max abs {found.max_abs:.2e} "
                    f"(bound {bounds.max_abs:.2e})"
                )


def undecidable(tolerance: Tolerance) -> str:
    """Why no comparison from end to end says anything about a network, in one sentence."""
    return (
        f"the network multiplies rounding errors {tolerance.amplification:.0f} times, so no "
        f"end-to-end comparison in {tolerance.precision} says anything; where it was fused, the "
        f"certificate of the fusion checks it layer by layer"
    )


def _share(error: float, bound: float) -> float:
    return error / bound if bound else 0.0  # an exact output that passed has no error

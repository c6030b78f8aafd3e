"""Compare artefacts with their reference in float64, at every batch size of theirs.

The reference is the unfused PyTorch network, or an ONNX file where there is no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgerep.bench.artefacts import Artefact, open_artefact
from edgerep.bench.comparison import (
    UNIT_ROUNDOFF,
    Difference,
    Tolerance,
    compare,
    finite_json,
    tolerance_for,
)
from edgerep.bench.probes import Probes, make_probes
from edgerep.bench.onnx_reference import OnnxReference
from edgerep.bench.reference import Reference, open_reference
from edgerep.bench.session import Array, Session
from edgerep.errors import EdgerepError, OptionError, ParityError
from edgerep.export.onnx_file import Graph
from edgerep.fusion import Fused
from edgerep.repvgg import BATCHNORM_EPS


@dataclass(frozen=True, slots=True)
class BatchParity:
    """The comparison at one batch size."""

    batch: int
    difference: Difference
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {"batch": self.batch, **asdict(self.difference), "passed": self.passed}


@dataclass(frozen=True, slots=True)
class ArtefactParity:
    """One artefact against the reference.

    Attributes:
        runtime: What ran it, or would have.
        ran: False for an artefact that cannot be run on this machine: it has not passed.
        why_not: The reason.
        how: What computed the answers, in one sentence.
        probes: How many images of each kind were used.
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

    @property
    def passed(self) -> bool:
        return self.ran and all(batch.passed for batch in self.batches)

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["batches"] = [batch.to_json() for batch in self.batches]
        fields["passed"] = self.passed if self.ran else None
        return fields


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The comparison of several artefacts with one reference.

    Attributes:
        reference: Its name.
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
            ParityError: Naming each artefact and batch that failed, with its error and bound.
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
            "schema": 1,
            "passed": self.passed,
            "reference": self.reference,
            "reference_kind": self.reference_kind,
            "artefacts": [artefact.to_json() for artefact in self.artefacts],
            "tolerance": tolerances,
        }
        result: dict[str, Any] = finite_json(fields)
        return result


def verify(
    reference: str | Path | nn.Module | Fused | Graph | OnnxReference,
    artefacts: Sequence[Any],
    *,
    batch: Sequence[int] = (),
    calibration: Array | None = None,
    bn_eps: float = BATCHNORM_EPS,
    seed: int = 0,
    progress: Callable[[ArtefactParity], None] = lambda result: None,
) -> ParityReport:
    """Run each artefact on random, edge and calibration images and compare; a failure is a result.

    Args:
        reference: The network as it was trained: a checkpoint, the name of an architecture, a
            module, or a `Fused`, whose unfused source is taken. Or an ONNX file, evaluated in
            float64.
        artefacts: Paths, or what the export functions returned.
        batch: Sizes to check instead of those of each artefact's own profile.
        calibration: Images of the user's own in the artefacts' input type, [N, C, H, W]; weights,
            which take normalised images of any size, are compared without them.
        bn_eps: As for `edgerep.load`, where `reference` is a checkpoint.
        seed: Of the random images.
        progress: Called with each artefact's result as soon as it is there.

    Raises:
        EdgerepError: The reference or an artefact cannot be read or compared, or a runtime breaks
            down.
        OptionError: A batch size is below 1, or the reference is in training mode.
    """
    if any(size < 1 for size in batch):
        raise OptionError(f"batch {list(batch)}: every size must be at least 1")
    truth = open_reference(reference, bn_eps=bn_eps)
    cache: dict[object, _Answers] = {}
    results = []
    for artefact in map(open_artefact, artefacts):
        if artefact.why_not:
            result = _not_run(artefact)
        else:
            key = (artefact.inputs, artefact.preprocessing, artefact.probabilities)
            if key not in cache:
                cache[key] = _answers(truth, artefact, calibration, seed)
            result = _compared(artefact, cache[key], tuple(batch) or artefact.batch.sizes)
        progress(result)
        results.append(result)
    return ParityReport(truth.name, tuple(results), truth.kind)


@dataclass(frozen=True, eq=False)
class _Answers:
    """The reference's outputs for a set of images, in float64, and its own float32 error."""

    probes: Probes
    truth: NDArray[np.float64]
    own_float32: Difference


def _answers(
    reference: Reference | OnnxReference, artefact: Artefact, calibration: Array | None, seed: int
) -> _Answers:
    if len(artefact.inputs) != 1 or len(artefact.inputs[0].shape) != 4:
        raise EdgerepError(
            f"{artefact.path} takes {', '.join(i.name for i in artefact.inputs)}: only artefacts "
            f"with one image input [N, C, H, W] can be compared"
        )
    own_images = None if artefact.kind == "weights" else calibration
    probes = make_probes(artefact.inputs[0], own_images, seed=seed)
    finish = _softmax if artefact.probabilities else _as_they_are
    truth = finish(reference.outputs64(probes.images, artefact.preprocessing))
    own = finish(reference.outputs32(probes.images, artefact.preprocessing).astype(np.float64))
    if not np.isfinite(truth).all():
        raise EdgerepError(
            f"the reference {reference.name} gives NaN or infinity in float64: there is nothing "
            f"to compare {artefact.path} with"
        )
    return _Answers(probes, truth, compare(own, truth))


def _compared(artefact: Artefact, answers: _Answers, sizes: Sequence[int]) -> ArtefactParity:
    if artefact.precision not in UNIT_ROUNDOFF:
        raise EdgerepError(
            f"{artefact.path} is {artefact.precision}, whose error rounding does not bound: only "
            f"{' and '.join(UNIT_ROUNDOFF)} artefacts can be compared"
        )
    tolerance = tolerance_for(artefact.precision, answers.truth, answers.own_float32)
    results = []
    with artefact.open() as session:
        for size in sizes:
            outputs, order = _run_all(session, answers.probes.images, size)
            if outputs.shape[1:] != answers.truth.shape[1:]:
                raise EdgerepError(
                    f"{artefact.path} gives outputs {list(outputs.shape[1:])} and the reference "
                    f"{list(answers.truth.shape[1:])}: it was not made from this network"
                )
            difference = compare(outputs, answers.truth[order])
            results.append(BatchParity(size, difference, difference.within(tolerance)))
        return ArtefactParity(
            path=str(artefact.path),
            runtime=session.runtime,
            precision=artefact.precision,
            ran=True,
            why_not=None,
            how=session.how,
            tolerance=tolerance,
            batches=tuple(results),
            probes=answers.probes.describe(),
        )


def _run_all(session: Session, images: Array, size: int) -> tuple[Array, NDArray[np.int64]]:
    """Every image once at least, in batches of `size`; and which image each output belongs to."""
    batches = list(_orders(len(images), size))
    outputs = []
    for order in batches:
        found = session.run(images[order])
        if len(found) != 1:
            raise EdgerepError(
                f"the artefact gives {len(found)} outputs ({session.how}): only artefacts with "
                f"one output can be compared"
            )
        outputs.append(found[0])
    return np.concatenate(outputs), np.concatenate(batches)


def _orders(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, size):
        yield np.arange(start, start + size) % count


def _not_run(artefact: Artefact) -> ArtefactParity:
    return ArtefactParity(
        path=str(artefact.path),
        runtime=artefact.runtime,
        precision=artefact.precision,
        ran=False,
        why_not=artefact.why_not,
        how="",
        tolerance=None,
        batches=(),
        probes={},
    )


def _failures(artefact: ArtefactParity) -> Iterator[str]:
    if artefact.tolerance is None:
        yield f"{artefact.path}: not run: {artefact.why_not}"
        return
    bounds = artefact.tolerance
    if not bounds.decidable:
        yield f"{artefact.path}: {undecidable(bounds)}"
        return
    for batch in artefact.batches:
        if not batch.passed:
            found = batch.difference
            yield (
                f"{artefact.path}, batch {batch.batch}: relative L2 {found.rel_l2:.2e} "
                f"(bound {bounds.rel_l2:.2e}), max abs {found.max_abs:.2e} "
                f"(bound {bounds.max_abs:.2e})"
            )


def undecidable(tolerance: Tolerance) -> str:
    """Why nothing can be said end to end about a network, in one sentence."""
    return (
        f"the network multiplies rounding errors {tolerance.amplification:.0f} times, so no "
        f"end-to-end comparison in {tolerance.precision} says anything; the certificate of the "
        f"fusion checks it block by block"
    )


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted: NDArray[np.float64] = np.exp(logits - logits.max(1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(1, keepdims=True)
    return result


def _as_they_are(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    return outputs

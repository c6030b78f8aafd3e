"""Compare artefacts with the unfused PyTorch network in float64, at every batch size of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
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
    exact,
    finite_json,
    tolerance_for,
)
from edgerep.bench.probes import Probes, make_probes
from edgerep.bench.reference import Reference
from edgerep.bench.session import Array, Session
from edgerep.errors import EdgerepError, OptionError, ParityError
from edgerep.fusion import Fused


@dataclass(frozen=True, slots=True)
class BatchParity:
    """The comparison at one batch size."""

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
        tolerance: Anchored to this output's own float32 error and scale; zero for integers, which
            must be equal.
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
        """Its largest error in units of what is allowed; infinite where it has not passed."""
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
        runtime: What ran it, or would have.
        ran: False for an artefact that cannot be run on this machine: it has not passed.
        why_not: The reason.
        how: What computed the answers, in one sentence.
        tolerance: Of the worst output.
        batches: Of the worst output; passed where all outputs have.
        probes: How many samples of each kind were used.
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
        """The output whose figures stand for the artefact."""
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
    """The comparison of several artefacts with one reference."""

    reference: str
    artefacts: tuple[ArtefactParity, ...]

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
            "artefacts": [artefact.to_json() for artefact in self.artefacts],
            "tolerance": tolerances,
        }
        result: dict[str, Any] = finite_json(fields)
        return result


def verify(
    reference: str | Path | nn.Module | Fused,
    artefacts: Sequence[Any],
    *,
    batch: Sequence[int] = (),
    calibration: Array | None = None,
    bn_eps: float | None = None,
    seed: int = 0,
    progress: Callable[[ArtefactParity], None] = lambda result: None,
) -> ParityReport:
    """Run each artefact on random, edge and calibration images and compare; a failure is a result.

    Every input is probed. Every output is compared against its own scale, integers for equality;
    nested outputs of the reference are flattened as `edgerep.export_onnx` does.

    Args:
        reference: The network as it was trained: a checkpoint, the name of an architecture, a
            module, or a `Fused`, whose unfused source is taken.
        artefacts: Paths, or what the export functions returned.
        batch: Sizes to check instead of those of each artefact's own profile.
        calibration: Images of the user's own in the artefacts' input type, [N, C, H, W], for
            artefacts of one input; weights, which take normalised images of any size, are
            compared without them.
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
    truth = Reference(reference, bn_eps=bn_eps)
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
    return ParityReport(truth.name, tuple(results))


@dataclass(frozen=True, eq=False)
class _Answers:
    """The reference's outputs for a set of samples, and each output's own float32 error.

    `truth` is in float64, or integers as the network gives them; those have no error of their own.
    """

    probes: Probes
    truth: tuple[Array, ...]
    own_float32: tuple[Difference | None, ...]


def _answers(
    reference: Reference, artefact: Artefact, calibration: Array | None, seed: int
) -> _Answers:
    own_images = None if artefact.kind == "weights" else calibration
    probes = make_probes(artefact.inputs, own_images, seed=seed)
    finish = _softmax if artefact.probabilities else _as_they_are
    truth = tuple(map(finish, reference.outputs64(probes.inputs, artefact.preprocessing)))
    narrow = tuple(map(finish, reference.outputs32(probes.inputs, artefact.preprocessing)))
    names = _names(artefact, len(truth))
    if bad := [n for n, t in zip(names, truth, strict=True) if not np.isfinite(t).all()]:
        raise EdgerepError(
            f"the reference {reference.name} gives NaN or infinity in float64 ({', '.join(bad)}): "
            f"there is nothing to compare {artefact.path} with"
        )
    own = tuple(
        compare(value.astype(np.float64), wanted) if _is_float(wanted) else None
        for value, wanted in zip(narrow, truth, strict=True)
    )
    return _Answers(probes, truth, own)


def _compared(artefact: Artefact, answers: _Answers, sizes: Sequence[int]) -> ArtefactParity:
    if artefact.precision not in UNIT_ROUNDOFF:
        raise EdgerepError(
            f"{artefact.path} is {artefact.precision}, whose error rounding does not bound: only "
            f"{' and '.join(UNIT_ROUNDOFF)} artefacts can be compared"
        )
    tolerances = [
        tolerance_for(artefact.precision, truth, own) if own else exact(artefact.precision)
        for truth, own in zip(answers.truth, answers.own_float32, strict=True)
    ]
    results: list[list[BatchParity]] = [[] for _ in tolerances]
    with artefact.open() as session:
        for size in sizes:
            outputs, order = _run_all(session, answers.probes.inputs, size)
            _require_shapes(artefact, outputs, answers.truth)
            for result, output, truth, tolerance in zip(
                results, outputs, answers.truth, tolerances, strict=True
            ):
                difference = compare(output, truth[order].astype(np.float64))
                result.append(BatchParity(size, difference, difference.within(tolerance)))
        how, runtime = session.how, session.runtime
    return _result(
        artefact,
        runtime=runtime,
        how=how,
        probes=answers.probes.describe(),
        outputs=tuple(
            OutputParity(name, tolerance, tuple(batches))
            for name, tolerance, batches in zip(
                _names(artefact, len(tolerances)), tolerances, results, strict=True
            )
        ),
    )


def _result(
    artefact: Artefact,
    *,
    runtime: str,
    how: str,
    probes: dict[str, int],
    outputs: tuple[OutputParity, ...],
) -> ArtefactParity:
    worst = max(outputs, key=lambda output: output.severity)
    return ArtefactParity(
        path=str(artefact.path),
        runtime=runtime,
        precision=artefact.precision,
        ran=True,
        why_not=None,
        how=how,
        tolerance=worst.tolerance,
        batches=tuple(
            replace(batch, passed=all(output.batches[index].passed for output in outputs))
            for index, batch in enumerate(worst.batches)
        ),
        probes=probes,
        outputs=outputs,
    )


def _require_shapes(artefact: Artefact, outputs: Sequence[Array], truth: Sequence[Array]) -> None:
    found = [list(output.shape[1:]) for output in outputs]
    wanted = [list(output.shape[1:]) for output in truth]
    if found != wanted:
        raise EdgerepError(
            f"{artefact.path} gives outputs {', '.join(map(str, found))} and the reference "
            f"{', '.join(map(str, wanted))}: it was not made from this network"
        )
    if wrong := [output.shape for output in outputs if len(output) != len(outputs[0])]:
        raise EdgerepError(f"{artefact.path} gives outputs without the batch first: {wrong}")


def _run_all(
    session: Session, inputs: Sequence[Array], size: int
) -> tuple[list[Array], NDArray[np.int64]]:
    """Every sample once at least, in batches of `size`; and which sample each output belongs to."""
    batches = list(_orders(len(inputs[0]), size))
    found = [session.run(*(array[order] for array in inputs)) for order in batches]
    outputs = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    return outputs, np.concatenate(batches)


def _names(artefact: Artefact, count: int) -> tuple[str, ...]:
    if len(artefact.outputs) == count:
        return tuple(spec.name for spec in artefact.outputs)
    return ("logits",) if count == 1 else tuple(f"output_{index}" for index in range(count))


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
        outputs=(),
    )


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
    """Why nothing can be said end to end about a network, in one sentence."""
    return (
        f"the network multiplies rounding errors {tolerance.amplification:.0f} times, so no "
        f"end-to-end comparison in {tolerance.precision} says anything; the certificate of the "
        f"fusion checks it block by block"
    )


def _softmax(logits: Array) -> Array:
    shifted: Array = np.exp(logits - logits.max(1, keepdims=True))
    result: Array = shifted / shifted.sum(1, keepdims=True)
    return result


def _as_they_are(outputs: Array) -> Array:
    return outputs


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f"


def _share(error: float, bound: float) -> float:
    return error / bound if bound else 0.0  # an exact output that passed has no error

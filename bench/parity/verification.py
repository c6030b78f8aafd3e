"""Compare artefacts with their reference in float64, at every batch size they are made for.

The reference is the unfused PyTorch network, or an ONNX file where there is no network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgerep.artefacts.batches import batches_of
from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.probes import Probes, make_probes
from edgerep.bench.parity.references.network import Reference, open_reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.parity.report import ArtefactParity, BatchParity, OutputParity, ParityReport
from edgerep.bench.parity.tolerance import (
    UNIT_ROUNDOFF,
    Difference,
    compare,
    exact,
    tolerance_for,
)
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.bench.sessions.session import Session
from edgerep.errors import EdgerepError, OptionError
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused


def verify(
    reference: str | Path | nn.Module | Fused | Graph | OnnxReference,
    artefacts: Sequence[Any],
    *,
    batch: Sequence[int] = (),
    calibration: Array | None = None,
    bn_eps: float | None = None,
    seed: int = 0,
    progress: Callable[[ArtefactParity], None] = lambda result: None,
) -> ParityReport:
    """Run each artefact on random, edge and calibration inputs and compare; a failure is a result.

    Every input is probed. Every output is compared on its own scale, integers for equality; nested
    outputs of the reference are flattened in the order of torch's pytrees, as in its graph.

    Args:
        reference: The network as it was trained: a checkpoint, the name of an architecture, a
            module, or a `Fused`, whose unfused source is taken. Or an ONNX file, evaluated in
            float64.
        artefacts: Paths, or what the export functions returned.
        batch: Sizes to check instead of those of each artefact's own profile.
        calibration: Images of the user's own in the artefacts' input type, [N, C, H, W], for
            artefacts of one input; weights, which take normalised images of any size, are
            compared without them.
        bn_eps: eps of every BatchNorm, where `reference` is a checkpoint; None is 1e-5.
        seed: Of the random probes.
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
    for runnable in map(open_runnable, artefacts):
        if runnable.why_not:
            result = _not_run(runnable)
        else:
            key = (runnable.inputs, runnable.preprocessing, runnable.probabilities)
            if key not in cache:
                cache[key] = _answers(truth, runnable, calibration, seed)
            result = _compared(runnable, cache[key], tuple(batch) or runnable.batch.sizes)
        progress(result)
        results.append(result)
    return ParityReport(truth.name, tuple(results), truth.kind)


@dataclass(frozen=True, eq=False)
class _Answers:
    """The outputs of the reference for the probes, and the float32 error of each output.

    An output in `truth` is in float64, or has integers as the network gives them; of integers the
    error in `own_float32` is None.
    """

    probes: Probes
    truth: tuple[Array, ...]
    own_float32: tuple[Difference | None, ...]


def _answers(
    reference: Reference | OnnxReference, runnable: Runnable, calibration: Array | None, seed: int
) -> _Answers:
    own_images = None if runnable.kind == "weights" else calibration
    probes = make_probes(runnable.inputs, own_images, seed=seed)
    finish = _softmax if runnable.probabilities else _as_they_are
    truth = tuple(map(finish, reference.outputs64(probes.inputs, runnable.preprocessing)))
    narrow = tuple(map(finish, reference.outputs32(probes.inputs, runnable.preprocessing)))
    names = _names(runnable, len(truth))
    if bad := [n for n, t in zip(names, truth, strict=True) if not np.isfinite(t).all()]:
        raise EdgerepError(
            f"the reference {reference.name} gives NaN or infinity in float64 ({', '.join(bad)}): "
            f"there is nothing to compare {runnable.title} with"
        )
    own = tuple(
        compare(value.astype(np.float64), wanted) if _is_float(wanted) else None
        for value, wanted in zip(narrow, truth, strict=True)
    )
    return _Answers(probes, truth, own)


def _compared(runnable: Runnable, answers: _Answers, sizes: Sequence[int]) -> ArtefactParity:
    if runnable.precision not in UNIT_ROUNDOFF:
        raise EdgerepError(
            f"{runnable.title} is {runnable.precision}, whose error rounding does not bound: only "
            f"{' and '.join(UNIT_ROUNDOFF)} artefacts can be compared"
        )
    tolerances = [
        tolerance_for(runnable.precision, truth, own) if own else exact(runnable.precision)
        for truth, own in zip(answers.truth, answers.own_float32, strict=True)
    ]
    results: list[list[BatchParity]] = [[] for _ in tolerances]
    with runnable.open() as session:
        for size in sizes:
            outputs, order = _run_all(session, answers.probes.inputs, size)
            _require_shapes(runnable, outputs, answers.truth)
            for result, output, truth, tolerance in zip(
                results, outputs, answers.truth, tolerances, strict=True
            ):
                difference = compare(output, truth[order].astype(np.float64))
                result.append(BatchParity(size, difference, difference.within(tolerance)))
        how, runtime = session.how, session.runtime
    return _result(
        runnable,
        runtime=runtime,
        how=how,
        probes=answers.probes.describe(),
        outputs=tuple(
            OutputParity(name, tolerance, tuple(batches))
            for name, tolerance, batches in zip(
                _names(runnable, len(tolerances)), tolerances, results, strict=True
            )
        ),
    )


def _result(
    runnable: Runnable,
    *,
    runtime: str,
    how: str,
    probes: dict[str, int],
    outputs: tuple[OutputParity, ...],
) -> ArtefactParity:
    worst = max(outputs, key=lambda output: output.severity)
    return ArtefactParity(
        path=runnable.title,
        runtime=runtime,
        precision=runnable.precision,
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


def _require_shapes(runnable: Runnable, outputs: Sequence[Array], truth: Sequence[Array]) -> None:
    found = [list(output.shape[1:]) for output in outputs]
    wanted = [list(output.shape[1:]) for output in truth]
    if found != wanted:
        raise EdgerepError(
            f"{runnable.title} gives outputs {', '.join(map(str, found))} and the reference "
            f"{', '.join(map(str, wanted))}: it was not made from this network"
        )
    if wrong := [output.shape for output in outputs if len(output) != len(outputs[0])]:
        raise EdgerepError(f"{runnable.title} gives outputs without the batch first: {wrong}")


def _run_all(
    session: Session, inputs: Sequence[Array], size: int
) -> tuple[list[Array], NDArray[np.int64]]:
    """Outputs for every probe, once at least, in batches of `size`; and the probe of each row."""
    batches = list(batches_of(len(inputs[0]), size))
    found = [session.run(*(array[order] for array in inputs)) for order in batches]
    outputs = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    return outputs, np.concatenate(batches)


def _names(runnable: Runnable, count: int) -> tuple[str, ...]:
    if len(runnable.outputs) == count:
        return tuple(spec.name for spec in runnable.outputs)
    return ("logits",) if count == 1 else tuple(f"output_{index}" for index in range(count))


def _not_run(runnable: Runnable) -> ArtefactParity:
    return ArtefactParity(
        path=runnable.title,
        runtime=runnable.runtime,
        precision=runnable.precision,
        ran=False,
        why_not=runnable.why_not,
        how="",
        tolerance=None,
        batches=(),
        probes={},
        outputs=(),
    )


def _softmax(logits: Array) -> Array:
    shifted: Array = np.exp(logits - logits.max(1, keepdims=True))
    result: Array = shifted / shifted.sum(1, keepdims=True)
    return result


def _as_they_are(outputs: Array) -> Array:
    return outputs


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f"

"""Run artefacts beside each other on the same answers of a reference, and judge each.

Blocks of probes stream past: what is kept of them is what `measures` says of each probe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.answers import Answers, answered, output_names
from edgerep.bench.parity.bands import ONE_BAND, Bands, bands_of
from edgerep.bench.parity.batch_plan import BatchPlan, arrangements
from edgerep.bench.parity.judgement import judged
from edgerep.bench.parity.measures import Measures, measure
from edgerep.bench.parity.probes import Probes
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.parity.report import ArtefactParity
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.session import Session
from edgerep.errors import EdgerepError, NetworkError


@dataclass(frozen=True, eq=False)
class OutputTally:
    """What was measured of one output so far; its lists grow.

    Attributes:
        bands: Found in the first block of probes.
        count: How many numbers a probe has in each band.
        is_float: Integers must be equal.
        own_float32: The reference in float32 against itself in float64, block by block.
        measured: The same of each artefact at each batch size.
    """

    bands: Bands
    count: tuple[int, ...]
    is_float: bool
    own_float32: list[Measures] = field(default_factory=list)
    measured: dict[tuple[int, int], list[Measures]] = field(default_factory=dict)


def compare_together(
    reference: Reference | OnnxReference,
    runnables: Sequence[Runnable],
    probes: Probes,
    plans: Sequence[BatchPlan],
    watch: Callable[[str, int, int], None],
) -> list[ArtefactParity]:
    """Compare artefacts that take the same inputs, so that the reference runs once for all.

    Args:
        reference: With what they are compared.
        runnables: The artefacts; each can be run here.
        probes: On what.
        plans: The batch sizes of each artefact. Those that are no main size take one batch out of
            the first block of probes.
        watch: Told what is running, how many probes are done, and of how many.

    Raises:
        EdgerepError: The reference or a runtime fails, or the outputs are not the reference's.
    """
    tallies: list[OutputTally] = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(runnable.open()) for runnable in runnables]
        blocks = answered(
            reference, runnables[0], probes, lambda done: watch("reference", done, len(probes))
        )
        for answers in blocks:
            _require_no_mixing(reference, runnables, plans)
            tallies = tallies or [_tally(truth) for truth in answers.truth]
            for tally, truth, narrow in zip(
                tallies, answers.truth, answers.own_float32, strict=True
            ):
                if tally.is_float:
                    tally.own_float32.append(measure(narrow, truth, tally.bands))
            for at, (runnable, session) in enumerate(zip(runnables, sessions, strict=True)):
                for size in plans[at].sizes:
                    once = size not in plans[at].main
                    if answers.start and once:
                        continue
                    _run(runnable, session, answers, tallies, (at, size), once=once)
                    watch(runnable.title, answers.start + len(answers), len(probes))
        said = [(session.how, session.runtime) for session in sessions]
    return [
        _result(runnable, said[at], probes, tallies, [(at, size) for size in plans[at].sizes])
        for at, runnable in enumerate(runnables)
    ]


def _require_no_mixing(
    reference: Reference | OnnxReference, runnables: Sequence[Runnable], plans: Sequence[BatchPlan]
) -> None:
    """Refuse batches of several samples where a sample's answer depends on the others."""
    for runnable, plan in zip(runnables, plans, strict=True):
        if reference.mixes and max(plan.sizes) > 1:
            raise NetworkError(f"{runnable.title} cannot be compared: {reference.mixes}")


def _tally(truth: Array) -> OutputTally:
    is_float = truth.dtype.kind == "f"
    bands = bands_of(truth) if is_float else ONE_BAND
    total = int(np.prod(truth.shape[1:]))
    if bands.axis is None:
        return OutputTally(bands, (total,), is_float)
    each = total // truth.shape[bands.axis]
    return OutputTally(bands, tuple(each * len(band) for band in bands.members), is_float)


def _run(
    runnable: Runnable,
    session: Session,
    answers: Answers,
    tallies: Sequence[OutputTally],
    key: tuple[int, int],
    *,
    once: bool,
) -> None:
    """Run one block of probes at one batch size, and add what was measured to the tallies."""
    _, size = key
    for order in arrangements(len(answers), size, first=size, once=once):
        outputs = session.run(*(array[order] for array in answers.inputs))
        _require_shapes(runnable, outputs, answers.truth, size)
        for tally, output, truth in zip(tallies, outputs, answers.truth, strict=True):
            measures = measure(output, truth[order], tally.bands)
            tally.measured.setdefault(key, []).append(measures)


def _require_shapes(
    runnable: Runnable, outputs: Sequence[Array], truth: Sequence[Array], size: int
) -> None:
    found = [list(output.shape[1:]) for output in outputs]
    wanted = [list(output.shape[1:]) for output in truth]
    if found != wanted:
        raise EdgerepError(
            f"{runnable.title} gives outputs {', '.join(map(str, found))} and the reference "
            f"{', '.join(map(str, wanted))}: it was not made from this network"
        )
    if wrong := [output.shape for output in outputs if len(output) != size]:
        raise EdgerepError(
            f"{runnable.title} gives for a batch of {size} outputs without the batch first: {wrong}"
        )


def _result(
    runnable: Runnable,
    said: tuple[str, str],
    probes: Probes,
    tallies: Sequence[OutputTally],
    keys: Sequence[tuple[int, int]],
) -> ArtefactParity:
    how, runtime = said
    names = output_names(runnable, len(tallies))
    outputs = tuple(
        judged(
            name,
            runnable.precision,
            tally.bands,
            tally.count,
            tally.own_float32,
            {size: tally.measured[at, size] for at, size in keys},
        )
        for name, tally in zip(names, tallies, strict=True)
    )
    return ArtefactParity.of(
        outputs,
        path=runnable.title,
        runtime=runtime,
        precision=runnable.precision,
        how=how,
        probes=probes.describe(),
        images_given=probes.given,
    )

"""Time networks and artefacts against each other: latency, memory, and what fusing bought."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgerep.artefacts.artefact import Artefact
from edgerep.bench.machine.environment import (
    allowed_cores,
    environment,
    load_average,
    temperatures_c,
)
from edgerep.bench.memory.measurement import memory_of
from edgerep.bench.memory.memory import Memory
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.session import Session
from edgerep.bench.timing.cases import BenchResult, Case, NotRun, Ratio
from edgerep.bench.timing.idle import come_to_rest
from edgerep.bench.timing.intervals import MIN_ROUNDS
from edgerep.bench.timing.ratios import labels_of, ratios_of
from edgerep.bench.timing.rounds import Samples, measure
from edgerep.bench.timing.subjects import Given, Options, random_inputs, subject_of
from edgerep.errors import MissingRuntimeError, OptionError, given
from edgerep.networks.interface import InputShapes

Progress = Callable[[str], None]
_SILENCE_SECONDS = 1.5  # after which a person is told which round it is, between two rounds
_MAX_BUSY = 0.5  # load average per core at the start, above which something else was running


def run_bench(
    subjects: Sequence[Given],
    *,
    batch: int | Sequence[int] = (1,),
    rounds: int = 30,
    threads: int = 0,
    size: int | tuple[int, int] = 224,
    input_shapes: InputShapes | None = None,
    device: str = "cpu",
    memory: bool = True,
    seed: int = 0,
    warmup_seconds: float = 0.5,
    min_round_seconds: float = 0.02,
    progress: Progress | None = None,
) -> BenchResult:
    """Time subjects against each other, in interleaved rounds, one batch size after another.

    What is timed is one complete inference by the wall clock, from inputs that already lie where
    the runtime wants them to outputs that are finished. All sessions are open at once.

    Args:
        subjects: torch modules, what `edgerep.fuse` and `edgerep.export_onnx` returned, engines,
            packages, paths to any of them, or names of architectures. What cannot run here is in
            the result's `not_run`.
        batch: Batch sizes.
        rounds: Turns of each case per batch size; at least `MIN_ROUNDS`.
        threads: CPU cores for one operation, for every backend alike; 0 takes all cores that this
            process may run on.
        size: Side, or height and width, of the images for torch modules.
        input_shapes: Shapes without the batch, for torch modules that take something else than one
            image: in the order of `forward`, or by the names of its parameters.
        device: Where torch modules run: "cpu", "cuda", "mps".
        memory: Measure memory too, in one fresh process per case.
        seed: Of the inputs (standard normal; integers uniform), of the order of turns, and of the
            bootstrap.
        warmup_seconds: Each case runs for at least this long, and three times, before the rounds.
        min_round_seconds: A turn repeats an inference until the turn is about this long.
        progress: Told in a sentence what is being done.

    Raises:
        OptionError: There is no subject, a subject is of no kind that can be timed, or an option
            is out of range.
        EdgerepError: A subject's file is unreadable or malformed, or a runtime refuses it.
    """
    batches = (batch,) if isinstance(batch, int) else tuple(batch)
    options = Options(
        size=(size, size) if isinstance(size, int) else size,
        threads=threads or allowed_cores(),
        device=device,
        input_shapes=input_shapes,
    )
    _require_sane(subjects, batches, rounds, options)
    settings = {
        "batch": list(batches),
        "rounds": rounds,
        "threads": options.threads,
        "size": None if input_shapes else list(options.size),
        "input_shapes": input_shapes,
        "device": device,
        "memory": memory,
        "seed": seed,
        "warmup_seconds": warmup_seconds,
        "min_round_seconds": min_round_seconds,
        "timed": "wall clock of one complete inference; inputs placed beforehand",
        "before_turn": "wait until this process uses no processor time, then one untimed call",
        "inputs": "standard normal; integers uniform",
        "interval": "95 % percentile bootstrap of the ratio of medians over whole rounds",
    }
    say = progress or (lambda _: None)
    about = environment()
    not_run: list[NotRun] = []
    cases: list[tuple[Case, Runnable]] = []
    ratios: list[Ratio] = []
    with ExitStack() as stack:
        opened = _open_all(subjects, options, stack, not_run)
        if any(one.runnable.module is not None for one in opened):
            from edgerep.bench.sessions.torch_session import torch_threads

            # Once for all rounds: changing it inside every call would cost more than it measures.
            stack.enter_context(torch_threads(options.threads))
        for size_of_batch in batches:
            fitting = _fitting(opened, size_of_batch, not_run)
            say(f"batch {size_of_batch}: {len(fitting)} case(s), warming up")
            samples = measure(
                {
                    one.label: one.session.bind(*random_inputs(one.runnable, size_of_batch, seed))
                    for one in fitting
                },
                rounds=rounds,
                warmup_seconds=warmup_seconds,
                min_round_seconds=min_round_seconds,
                rng=random.Random(seed),
                before_turn=come_to_rest,
                on_round=_now_and_then(rounds, size_of_batch, say),
            )
            timed = [
                (_case(one, size_of_batch, samples[one.label]), one.runnable) for one in fitting
            ]
            cases += timed
            ratios += ratios_of(timed, seed)
    finished = {"load_average_after": load_average(), "temperatures_c_after": temperatures_c()}
    return BenchResult(
        environment={**about, **finished},
        settings=settings,
        cases=tuple(_with_memory(cases, options, say) if memory else [case for case, _ in cases]),
        ratios=tuple(ratios),
        not_run=tuple(not_run),
        warnings=tuple(_warnings(about, [case for case, _ in cases])),
    )


def _require_sane(
    subjects: Sequence[Given], batches: Sequence[int], rounds: int, options: Options
) -> None:
    if not isinstance(subjects, list | tuple):
        raise OptionError(f"what is timed is a list, and {given(subjects, 'put it into one')}")
    if not subjects:
        raise OptionError("there is nothing to time: give a network or an artefact")
    if not batches or min(batches) < 1:
        raise OptionError(f"batch {list(batches)}: give sizes of at least 1")
    if not isinstance(rounds, int) or rounds < MIN_ROUNDS:
        raise OptionError(
            f"{rounds!r} rounds are too few for a 95 % interval: give at least {MIN_ROUNDS}"
        )
    if not all(isinstance(side, int) for side in options.size):
        raise OptionError(f"size {options.size!r} is neither a number of pixels nor two")
    if options.threads < 1 or min(options.size) < 1:
        raise OptionError(f"threads {options.threads} and size {options.size} must be positive")


@dataclass(frozen=True, eq=False)
class _Open:
    label: str  # the case's key, less the batch
    runnable: Runnable
    session: Session


def _open_all(
    subjects: Sequence[Given], options: Options, stack: ExitStack, not_run: list[NotRun]
) -> list[_Open]:
    opened: list[tuple[Runnable, Session]] = []
    for subject in subjects:
        try:
            runnable = subject_of(subject, options)
            session = runnable.open(threads=options.threads, device=options.device)
            opened.append((runnable, stack.enter_context(session)))
        except MissingRuntimeError as error:
            not_run.append(NotRun(_name(subject), str(error)))
    labels = labels_of([runnable for runnable, _ in opened])
    return [_Open(label, *one) for label, one in zip(labels, opened, strict=True)]


def _fitting(opened: Sequence[_Open], batch: int, not_run: list[NotRun]) -> list[_Open]:
    fitting = []
    for one in opened:
        if one.runnable.takes(batch):
            fitting.append(one)
        else:
            why = f"made for batch {one.runnable.batch}, not {batch}"
            not_run.append(
                NotRun(f"{one.label}/b{batch}", f"{why}: make it for a range that includes it")
            )
    return fitting


def _case(one: _Open, batch: int, samples: Samples) -> Case:
    return Case(
        key=f"{one.label}/b{batch}",
        name=one.runnable.name,
        form=one.runnable.form,
        backend=one.runnable.runtime,
        precision=one.runnable.precision,
        batch=batch,
        samples=samples,
        how=one.session.how,
    )


def _name(given: Given) -> str:
    if isinstance(given, Artefact | Path):
        return (given.path if isinstance(given, Artefact) else given).name
    module = getattr(given, "reference", given)  # of a Fused
    return given if isinstance(given, str) else type(module).__name__


def _now_and_then(rounds: int, batch: int, say: Progress) -> Callable[[int], None]:
    said = time.monotonic()

    def on_round(done: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _SILENCE_SECONDS or done == rounds:
            said = time.monotonic()
            say(f"batch {batch}: round {done} of {rounds}")

    return on_round


def _with_memory(
    cases: Sequence[tuple[Case, Runnable]], options: Options, say: Progress
) -> Iterator[Case]:
    stated: dict[Runnable, Memory] = {}  # by engines, whose word is the same for every batch size
    for case, runnable in cases:
        say(f"memory of {case.key}")
        memory = stated.get(runnable) or memory_of(
            runnable, case.batch, threads=options.threads, device=options.device
        )
        if runnable.kind == "engine":
            stated[runnable] = memory
        yield replace(case, memory=memory)


def _warnings(about: dict[str, Any], cases: Sequence[Case]) -> Iterator[str]:
    load, cores = about["load_average"], about["cpu"]["cores_allowed"]
    if load is not None and load[0] > _MAX_BUSY * cores:
        yield (
            f"the machine was busy before the first measurement: load average {load[0]} on "
            f"{cores} core(s)"
        )
    if noisy := [case.key for case in cases if case.is_noisy]:
        yield (
            f"{len(noisy)} of {len(cases)} case(s) are noisy (interquartile range above 10 % of "
            f"the median), so something else was probably running: {', '.join(noisy)}"
        )

"""Hold an int8 artefact to the exact evaluation of its Q/DQ graph, stretch by stretch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.answers import output_names
from edgerep.bench.parity.batch_plan import BatchPlan, arrangements
from edgerep.bench.parity.figures.measures import Measures, measure
from edgerep.bench.parity.figures.tolerance import SAFETY, UNIT_ROUNDOFF
from edgerep.bench.parity.int8_findings import StepParity
from edgerep.bench.parity.output_findings import OutputParity
from edgerep.bench.parity.quantised.forcing import ForcedGraph, limits_of
from edgerep.bench.parity.quantised.image_places import FIRST, ImagePlaces, image_places
from edgerep.bench.parity.quantised.watching import Watched, watched
from edgerep.bench.parity.tallies import OutputTally, tally_of
from edgerep.bench.sessions.runnable import Runnable
from edgerep.data.preprocessing import Preprocessing
from edgerep.data.probes import Probes
from edgerep.errors import EdgerepError

_MOST_PROBES = 16  # each is evaluated in float64, for each way in which it stands in a batch
# Of the root mean square of what reaches a quantiser: no kernel sums more closely than this many
# roundoffs, whatever the float32 run of the evaluator happens to hit.
_LEAST_ROUNDOFFS = 16


@dataclass(frozen=True, eq=False)
class Exactness:
    """What was found of an artefact.

    Attributes:
        outputs: Each output against the graph with the artefact's integers.
        steps: Each quantiser.
        why_not: Why nothing was compared; "" where something was.
        probes: How many were compared.
        is_fault: Whether `why_not` says that the artefact is not the graph.
    """

    outputs: tuple[OutputParity, ...]
    steps: tuple[StepParity, ...]
    why_not: str
    probes: int
    is_fault: bool = False


@dataclass(eq=False)
class _StepTally:
    beyond: float = 0.0
    allowed: float = 0.0
    rows: int = 0
    integers: int = 0
    seen: int = 0  # numbers of the user's images
    clipped: int = 0
    used: float = 0.0
    images: int = 0


@dataclass(eq=False)
class _Tally:
    outputs: list[OutputTally] = field(default_factory=list)
    measured: list[dict[int, list[Measures]]] = field(default_factory=list)
    steps: list[_StepTally] = field(default_factory=list)


def exactness_of(
    runnable: Runnable,
    graph: ForcedGraph,
    probes: Probes,
    plan: BatchPlan,
    watch: Callable[[int, int], None],
) -> Exactness:
    """Compare an artefact with the graph that it was made from.

    Args:
        runnable: The artefact, which `is_watchable`.
        graph: What it was made from.
        probes: The first and the last of them are run: those made here and the user's images.
        plan: The batch sizes.
        watch: Told how many probes are done, and of how many.

    Raises:
        EdgerepError: A runtime or the evaluator breaks down.
    """
    chosen, is_own = _chosen(probes)
    with ExitStack() as stack:
        artefact = watched(runnable, graph, stack)
        if isinstance(artefact, str):
            return Exactness((), (), artefact, 0, is_fault=True)
        tally = _Tally(steps=[_StepTally() for _ in graph.quantisers])
        for done, size in enumerate(plan.sizes, 1):
            once = size not in plan.main
            places: list[ImagePlaces] | None = None  # they are those of all batches of a size
            for order in arrangements(len(chosen[0]), size, first=size, once=once):
                rows = [array[order] for array in chosen]
                outputs, levels = artefact.run(rows)
                own = is_own[order]
                # Of sizes between, the first row and the last: each is evaluated in float64 twice.
                picked = np.array([0, size - 1]) if once and size > 2 else np.arange(size)
                if places is None:
                    places = _places(artefact, rows, levels, plan)
                wrong = _add(
                    tally, graph, runnable, size, picked, rows, own, outputs, levels, places
                )
                if wrong:
                    return Exactness((), (), wrong, 0, is_fault=True)
            watch(done * len(chosen[0]), len(plan.sizes) * len(chosen[0]))
    precision = "fp16" if graph.is_half else "fp32"
    names = output_names(runnable, len(tally.outputs))
    return Exactness(
        tuple(
            one.judged(name, precision, measured)
            for name, one, measured in zip(names, tally.outputs, tally.measured, strict=True)
        ),
        tuple(
            StepParity(one.name, found.rows, found.beyond, found.allowed, found.integers,
                       found.clipped / max(1, found.seen), found.used, found.images)
            for one, found in zip(graph.quantisers, tally.steps, strict=True)
        ),
        "",
        len(chosen[0]),
    )  # fmt: skip


def _chosen(probes: Probes) -> tuple[tuple[Array, ...], NDArray[np.bool_]]:
    """Some of the probes: of those made here every kind, and the user's first; which are theirs."""
    total = len(probes)
    made = len(probes.kinds)
    share = _MOST_PROBES if probes.images is None else _MOST_PROBES // 2
    first = np.unique(np.linspace(0, made - 1, min(share, made)).astype(int))
    rest = np.arange(made, min(total, made + _MOST_PROBES - len(first)))
    picked = [probes.block(int(at), int(at) + 1) for at in (*first, *rest)]
    chosen = tuple(np.concatenate(arrays) for arrays in zip(*picked, strict=True))
    return chosen, np.arange(len(chosen[0])) >= len(first)


def _places(
    artefact: Watched, rows: Sequence[Array], levels: Sequence[Array], plan: BatchPlan
) -> list[ImagePlaces]:
    """Where the images of a batch lie in each of the integers that it gave."""
    size = len(rows[0])
    if size == 1 or 1 not in plan.sizes:
        return [FIRST] * len(levels)
    _, alone = artefact.run([array[:1] for array in rows])
    return [
        image_places(one, by_itself, size) for one, by_itself in zip(levels, alone, strict=True)
    ]


def _add(
    tally: _Tally,
    graph: ForcedGraph,
    runnable: Runnable,
    size: int,
    picked: NDArray[np.int64],
    rows: Sequence[Array],
    own_images: NDArray[np.bool_],
    outputs: Sequence[Array],
    levels: Sequence[Array],
    places: Sequence[ImagePlaces],
) -> str:
    """Add the rows `picked` of one batch; returns why they cannot be compared, or ""."""
    for at in _batches(picked, size, graph.fixed_batch):
        fed = _fed(graph, [array[at] for array in rows], runnable.preprocessing)
        given = [where.of(one, at, size) for one, where in zip(levels, places, strict=True)]
        answers, steps = graph.run(fed, given, "float64")
        if wrong := _shapes(graph, given, steps, outputs, answers):
            return wrong
        own_answers, own_steps = graph.run(fed, given, "float32")
        if runnable.probabilities:
            answers, own_answers = (
                [_softmax(one) for one in each] for each in (answers, own_answers)
            )
        if not tally.outputs:
            tally.outputs = [tally_of(truth) for truth in answers]
            tally.measured = [{} for _ in answers]
        for one, found, own, truth, measured in zip(
            tally.outputs, outputs, own_answers, answers, tally.measured, strict=True
        ):
            one.add_own(own, truth)
            measured.setdefault(size, []).append(measure(found[at], truth, one.bands))
        unit = UNIT_ROUNDOFF["fp16" if graph.is_half else "fp32"]
        theirs = np.flatnonzero(own_images[at])
        for quantiser, kept, integers, exact, own, where in zip(
            graph.quantisers, tally.steps, given, steps, own_steps, places, strict=True
        ):
            limits = limits_of(quantiser, exact.ndim)
            _add_steps(kept, integers, exact, own, limits, unit)
            if len(theirs):
                _add_range(kept, where.of(exact, theirs, len(at)), limits)
    return ""


def _add_steps(
    kept: _StepTally,
    integers: Array,
    exact: Array,
    own: Array,
    limits: tuple[Array, Array],
    unit: float,
) -> None:
    low, high = integers <= limits[0], integers >= limits[1]
    # The last integer stands for all that lies beyond it.
    below = np.where(low, -np.inf, integers - 0.5) - exact
    above = exact - np.where(high, np.inf, integers + 0.5)
    beyond = np.nan_to_num(np.maximum(np.maximum(below, above), 0), nan=np.inf)
    rounding = np.abs(own - exact).max(initial=0.0) * unit / UNIT_ROUNDOFF["fp32"]
    rms = float(np.sqrt(np.mean(exact**2))) if exact.size else 0.0
    least = _LEAST_ROUNDOFFS * unit * max(rms, 1.0)
    kept.beyond = max(kept.beyond, float(beyond.max(initial=0.0)))
    kept.allowed = max(kept.allowed, SAFETY["fp32"] * float(rounding), least)
    kept.rows += len(exact)
    kept.integers += exact.size


def _add_range(kept: _StepTally, exact: Array, limits: tuple[Array, Array]) -> None:
    """Add how the range fits the user's images; a range that begins at 0 is a ReLU, too."""
    low, high = limits
    beyond = (exact > high + 0.5) | ((exact < low - 0.5) & (low < 0))
    reach = np.maximum(
        exact / np.maximum(high, 1), np.where(low < 0, exact / np.minimum(low, -1), 0)
    )
    kept.clipped += int(beyond.sum())
    kept.seen += exact.size
    kept.used = max(kept.used, min(1.0, float(reach.max(initial=0.0))))
    kept.images += len(exact)


def _batches(
    picked: NDArray[np.int64], size: int, fixed: int | None
) -> Iterator[NDArray[np.int64]]:
    """Rows that the graph takes at once: all, where it is for one size, else one by one."""
    if fixed is not None and fixed > 1:
        if size % fixed:
            raise EdgerepError(f"the graph is for a batch of {fixed}, and the artefact for {size}")
        yield from np.arange(size).reshape(-1, fixed)
    else:
        yield from picked.reshape(-1, 1)


def _fed(graph: ForcedGraph, rows: list[Array], inside: Preprocessing) -> list[Array]:
    if inside == graph.preprocessing:
        return rows
    if not graph.preprocessing.is_identity:
        raise EdgerepError(
            f"{graph.path} has preprocessing inside, {graph.preprocessing}, and the artefact has "
            f"{inside}: they do not take the same images"
        )
    return [inside.apply(array) for array in rows]


def _shapes(
    graph: ForcedGraph,
    levels: Sequence[Array],
    steps: Sequence[Array],
    outputs: Sequence[Array],
    answers: Sequence[Array],
) -> str:
    for one, found, wanted in zip(graph.quantisers, levels, steps, strict=True):
        if found.shape != wanted.shape:
            return (
                f"where {graph.path.name} quantises {one.node.input[0]} {list(wanted.shape)}, it "
                f"has integers of {list(found.shape)}"
            )
    given, made = ([list(o.shape[1:]) for o in group] for group in (outputs, answers))
    return "" if given == made else f"it gives outputs {given}, and {graph.path.name} {made}"


def _softmax(logits: Array) -> Array:
    shifted: Array = np.exp(logits - logits.max(1, keepdims=True))
    result: Array = shifted / shifted.sum(1, keepdims=True)
    return result

"""Compare an int8 artefact with the Q/DQ graph that it is, and with the float network it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.answers import Questions, answered, output_names
from edgerep.bench.parity.batch_plan import BatchPlan, arrangements
from edgerep.bench.parity.figures.measures import Measures, joined, measure
from edgerep.bench.parity.figures.tolerance import Tolerance, difference_of, exact
from edgerep.bench.parity.findings import ArtefactParity, QuantisedParity
from edgerep.bench.parity.int8_findings import LayerParity
from edgerep.bench.parity.output_findings import BatchParity, OutputParity
from edgerep.bench.parity.quantised.exactness import Exactness, exactness_of
from edgerep.bench.parity.quantised.forcing import forced_graph
from edgerep.bench.parity.quantised.origins import origin_of
from edgerep.bench.parity.quantised.requirement import Requirement, requirement
from edgerep.bench.parity.quantised.watching import is_watchable
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.sessions.runnable import Runnable
from edgerep.data.probes import Probes
from edgerep.errors import EdgerepError, OnnxError
from edgerep.export.graph.odd_pairs import odd_pairs_in
from edgerep.export.graph.onnx_file import read_model

QUANTISED = ("int8", "int8-weights", "fp8")
_UNFOLLOWED = "fp8"  # whose codes are no integers
Watch = Callable[[str, int, int], None]
# Of an artefact that shows none of its integers, beside the graph it was made from: at a tie an
# integer falls to either side, and all behind it is computed from another number. The same graph
# with ONNX Runtime's kernels and node by node is 1.2e-2 apart on the digits network.
_UNSEEN = Requirement(25.0, 0.0, "")


def compare_quantised(
    reference: Reference | OnnxReference,
    runnable: Runnable,
    probes: Probes,
    plan: BatchPlan,
    at_hand: Sequence[Path],
    layers_of: Callable[[Path], tuple[LayerParity, ...]],
    watch: Watch,
) -> ArtefactParity:
    """Compare one int8 artefact.

    Args:
        reference: The float network; or the Q/DQ graph that the artefact should be.
        runnable: The artefact.
        probes: On what.
        plan: At which batch sizes.
        at_hand: ONNX files among which its graph may be.
        layers_of: Compares the weights of a Q/DQ graph with those of the float network.
        watch: Told what is running, how far it is, and of how much.

    Raises:
        EdgerepError: The reference or a runtime fails, or the outputs are not the reference's.
    """
    origin = origin_of(runnable, at_hand)
    is_graph = False
    if isinstance(reference, OnnxReference) and reference.precision in QUANTISED:
        origin, is_graph = reference.path, True
    found = _exactness(runnable, origin, probes, plan, watch)
    asked = requirement(runnable.noted, 0 if probes.images is None else len(probes.images))
    if is_graph and found.outputs:
        outputs = found.outputs
        how = _how(runnable)
    else:
        outputs, how = _beside(reference, runnable, probes, plan, _UNSEEN if is_graph else asked,
                               watch)  # fmt: skip
    unseen_weights = is_graph or origin is None or runnable.precision == _UNFOLLOWED
    layers = () if unseen_weights or origin is None else layers_of(origin)
    return ArtefactParity.of(
        outputs,
        path=runnable.title,
        runtime=runnable.runtime,
        precision=runnable.precision,
        how=how,
        probes=probes.describe(),
        images_given=probes.given,
        quantised=QuantisedParity(
            graph=None if origin is None else origin.name,
            why_not=found.why_not,
            is_that_graph=bool(found.outputs) or not found.is_fault,
            outputs=() if is_graph else found.outputs,
            steps=found.steps,
            layers=layers,
            requirement="" if is_graph else asked.source,
            odd_pairs=() if origin is None else odd_pairs_in(read_model(origin)),
        ),
    )


def _how(runnable: Runnable) -> str:
    if runnable.kind == "onnx":
        return "ONNX Runtime, node by node; beside it the graph in float64 with the same integers"
    return "the reference interpreter; beside it the graph in float64 with the same integers"


def _exactness(
    runnable: Runnable, origin: Path | None, probes: Probes, plan: BatchPlan, watch: Watch
) -> Exactness:
    if runnable.precision == _UNFOLLOWED:
        return Exactness((), (), "its codes are floating-point numbers, which are not followed", 0)
    if origin is None:
        return Exactness((), (), "the ONNX file that it was made from is not beside it", 0)
    if not is_watchable(runnable):
        freely, _ = _beside(OnnxReference(origin), runnable, probes, plan, _UNSEEN, watch)
        return Exactness(freely, (), "", len(_telling(probes)))
    try:
        graph = forced_graph(origin)
    except OnnxError as error:  # it computes scales, or quantises in ways that have no exact answer
        return Exactness((), (), f"it cannot be evaluated exactly: {error}", 0)
    return exactness_of(
        runnable,
        graph,
        probes,
        plan,
        lambda done, count: watch(f"{runnable.title}, exactly", done, count),
    )


def _beside(
    reference: Reference | OnnxReference,
    runnable: Runnable,
    probes: Probes,
    plan: BatchPlan,
    asked: Requirement,
    watch: Watch,
) -> tuple[tuple[OutputParity, ...], str]:
    """Every output beside that of the reference, on the user's images where there are some."""
    questions, telling = Questions(reference, runnable), _telling(probes)
    measured: list[dict[int, list[Measures]]] = []
    truths: list[Array] = []  # of one block, for their types and shapes
    with runnable.open() as session:
        for answers in answered(
            questions, telling, lambda done: watch("reference", done, len(telling))
        ):
            truth = answers.truth.outputs
            measured = measured or [{} for _ in truth]
            truths = truths or list(truth)
            for size in plan.sizes:
                once = size not in plan.main
                if once and size in measured[0]:
                    continue
                for rows in arrangements(len(answers), size, first=size, once=once):
                    found = session.run(*(array[rows] for array in answers.inputs))
                    _require_shapes(runnable, found, [one[rows] for one in truth])
                    for kept, one, wanted in zip(measured, found, truth, strict=True):
                        kept.setdefault(size, []).append(measure(one, wanted[rows]))
            watch(runnable.title, answers.start + len(answers), len(telling))
        how = session.how
    names = output_names(runnable, len(measured))
    return (
        tuple(
            _output(name, kept, asked, one, runnable.precision)
            for name, kept, one in zip(names, measured, truths, strict=True)
        ),
        how,
    )


def _telling(probes: Probes) -> Probes:
    """The probes that tell of a network's quality: the user's images, or else the pictures."""
    kept = [probes.images is None and kind == "picture" for kind in probes.kinds]
    if probes.images is None and not any(kept):
        return probes
    return Probes(
        tuple(array[kept] for array in probes.inputs),
        tuple(kind for kind, keep in zip(probes.kinds, kept, strict=True) if keep),
        probes.images,
        probes.given,
    )


def _output(
    name: str,
    measured: dict[int, list[Measures]],
    asked: Requirement,
    truth: Array,
    precision: str,
) -> OutputParity:
    is_float = truth.dtype.kind == "f"
    # Of an image the largest number of all tells nothing: only of a row of scores.
    agreement = asked.agreement if truth.ndim == 2 and truth.shape[1] > 1 else 0.0
    whole = {size: difference_of(joined(parts)) for size, parts in measured.items()}
    rows = {size: sum(len(part.agrees) for part in parts) for size, parts in measured.items()}
    if is_float:
        tolerance = Tolerance(precision, np.inf, np.inf, 0.0, True, asked.sqnr_db, agreement)
    else:  # labels and masks agree as often as the largest scores do
        tolerance = exact(precision)
    return OutputParity(
        name,
        tolerance,
        tuple(
            BatchParity(size, one, not is_float or one.keeps_to(tolerance), rows[size])
            for size, one in whole.items()
        ),
    )


def _require_shapes(runnable: Runnable, found: Sequence[Array], truth: Sequence[Array]) -> None:
    made, wanted = ([list(one.shape) for one in group] for group in (found, truth))
    if made != wanted:
        raise EdgerepError(
            f"{runnable.title} gives outputs {made} and the reference {wanted}: it was not made "
            f"from this network"
        )

"""Compare artefacts with their reference in float64, at every batch size they are made for.

The reference is the unfused PyTorch network, or an ONNX file where there is no network.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgerep.bench.parity.batch_plan import BatchPlan, plan_of
from edgerep.bench.parity.comparison import compare_together
from edgerep.bench.parity.figures.tolerance import UNIT_ROUNDOFF
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.quantised.comparison import QUANTISED, compare_quantised
from edgerep.bench.parity.quantised.layer_weights import layers_beside
from edgerep.bench.parity.references.network import Reference, open_reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.parity.report import ParityReport
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.data.pixels import Pixels
from edgerep.data.probes import make_probes
from edgerep.data.samples import Given, ImageSource, as_images
from edgerep.errors import DataError, EdgerepError, OptionError, given
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused
from edgerep.torch_modules.global_state import torch_state_kept


@torch_state_kept()
def verify(
    reference: str | Path | nn.Module | Fused | Graph | OnnxReference,
    artefacts: Sequence[Any],
    *,
    batch: Sequence[int] = (),
    calibration: Given | None = None,
    max_images: int | None = None,
    bn_eps: float | None = None,
    seed: int = 0,
    progress: Callable[[ArtefactParity], None] = lambda result: None,
    watch: Callable[[str, int, int], None] = lambda what, done, count: None,
) -> ParityReport:
    """Run each artefact on random, edge and calibration inputs and compare; a failure is a result.

    Every input is probed. Every output is compared on its own scale, integers for equality, what a
    network decides (labels, masks, rounded numbers) by the numbers it was decided by; nested
    outputs of the reference are flattened in the order of torch's pytrees, as in its graph.

    Args:
        reference: The network as it was trained: a checkpoint, the name of an architecture, a
            module, or a `Fused`, whose unfused source is taken. Or an ONNX file, evaluated in
            float64.
        artefacts: Paths, or what the export functions returned.
        batch: Sizes to check instead of those of each artefact's own profile: every size up to
            16, beyond it the smallest, the optimum, the largest and some between. An ONNX file
            whose batch is open and that notes no profile is run at 1, 2, 3 and 8.
        calibration: Images of the user's own, for artefacts of one input: the path of a folder of
            pictures or of a file of arrays, an array or an iterable of arrays in the artefacts'
            input type, [N, C, H, W], or what `edgerep.read_images` returned. Weights, which take
            normalised images of any size, are compared without them.
        max_images: How many of them are compared, at most: the first; None compares all.
        bn_eps: eps of every BatchNorm, where `reference` is a checkpoint; None is 1e-5.
        seed: Of the random probes.
        progress: Called with each artefact's result as soon as it is there.
        watch: Called on the way: with what is running, how many probes are done, and of how many.

    Raises:
        EdgerepError: The reference or an artefact cannot be read or compared, or a runtime breaks
            down.
        DataError: `calibration` cannot be read, or does not fit.
        OptionError: A batch size or `max_images` is below 1, an artefact is not made for a size of
            `batch`, `calibration` holds no image, or the reference is in training mode.
    """
    if not isinstance(artefacts, list | tuple):
        raise OptionError(f"`artefacts` is a list, and {given(artefacts, 'put it into one')}")
    if not artefacts:
        raise OptionError("there is nothing to compare: give an artefact, or several")
    if not isinstance(batch, list | tuple) or not all(isinstance(size, int) for size in batch):
        raise OptionError(f"`batch` is a list of sizes, and {given(batch)}")
    if max_images is not None and not (isinstance(max_images, int) and max_images >= 1):
        raise OptionError(f"max_images {max_images!r}: at least 1 image is compared")
    if not isinstance(seed, int) or seed < 0:
        raise OptionError(f"seed {seed!r} is no whole number of 0 or more")
    if any(size < 1 for size in batch):
        raise OptionError(f"batch {list(batch)}: every size must be at least 1")
    images = None if calibration is None else as_images(calibration)
    truth = open_reference(reference, bn_eps=bn_eps)
    runnables = [open_runnable(artefact) for artefact in artefacts]
    at_hand = [r.path for r in runnables if r.kind == "onnx" and r.path is not None]
    layers_of = functools.cache(lambda origin: layers_beside(truth, origin))
    results: dict[int, ArtefactParity] = {}
    groups: dict[object, list[int]] = {}
    for index, runnable in enumerate(runnables):
        if runnable.why_not:
            results[index] = _not_run(runnable)
            progress(results[index])
            continue
        _require_sizes(runnable, batch)
        _require_comparable(truth, runnable)
        if runnable.precision in QUANTISED:
            probes = make_probes(
                runnable.inputs,
                _fitting(images, runnable),
                max_images=max_images,
                given=None if images is None else images.there,
                seed=seed,
            )
            plan = _plan(runnable, tuple(batch))
            results[index] = compare_quantised(
                truth, runnable, probes, plan, at_hand, layers_of, watch
            )
            progress(results[index])
            continue
        own = runnable.kind != "weights"
        key = (runnable.inputs, runnable.preprocessing, runnable.probabilities, own)
        groups.setdefault(key, []).append(index)
    for members in groups.values():
        together = [runnables[index] for index in members]
        own_images = None if together[0].kind == "weights" else _fitting(images, together[0])
        probes = make_probes(
            together[0].inputs,
            own_images,
            max_images=max_images,
            given=None if images is None else images.there,
            seed=seed,
        )
        plans = [_plan(runnable, tuple(batch)) for runnable in together]
        found = compare_together(truth, together, probes, plans, watch)
        for index, result in zip(members, found, strict=True):
            results[index] = result
            progress(result)
    return ParityReport(
        truth.name,
        tuple(results[index] for index in range(len(runnables))),
        truth.kind,
        truth.as_exported,
    )


def _fitting(images: ImageSource | None, runnable: Runnable) -> Pixels | None:
    if images is None:
        return None
    if len(runnable.inputs) != 1:
        names = ", ".join(spec.name for spec in runnable.inputs)
        raise DataError(f"images of your own need a model with one input; this takes {names}")
    return images.pixels_for(runnable.inputs[0], runnable.preprocessing)


def _require_sizes(runnable: Runnable, wanted: Sequence[int]) -> None:
    """Refuse sizes that were asked for and that the artefact is not made for."""
    for size in wanted:
        if not runnable.takes(size):
            raise OptionError(
                f"{runnable.title} is made for a batch of {runnable.batch}, and cannot be compared "
                f"at {size}: leave --batch out, or make it for that size"
            )


def _plan(runnable: Runnable, wanted: tuple[int, ...]) -> BatchPlan:
    if wanted:
        return BatchPlan(tuple(sorted(set(wanted))), wanted)
    is_open = runnable.kind == "onnx" and runnable.any_batch and runnable.batch.is_static
    return plan_of(runnable.batch, is_open=is_open)


def _require_comparable(truth: Reference | OnnxReference, runnable: Runnable) -> None:
    if runnable.random:
        raise EdgerepError(
            f"{runnable.title} draws random numbers ({', '.join(runnable.random)}): it is no "
            f"function of its input, and there is nothing to compare"
        )
    if runnable.precision not in (*UNIT_ROUNDOFF, *QUANTISED):
        raise EdgerepError(
            f"{runnable.title} is {runnable.precision}, whose error rounding does not bound: only "
            f"{', '.join((*UNIT_ROUNDOFF, *QUANTISED))} artefacts can be compared"
        )
    rounded = truth.precision if isinstance(truth, OnnxReference) else ""
    if rounded in QUANTISED and runnable.precision != rounded:
        raise EdgerepError(
            f"{truth.name} is quantised, and {runnable.title} is {runnable.precision}: they are "
            f"not one network in two formats. Compare both with the float network"
        )


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

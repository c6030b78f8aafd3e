"""Put a graph into a precision and its preprocessing into the graph: the order of the steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.kinds import PRECISIONS
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing, preprocessing_from
from edgerep.data.samples import Given
from edgerep.errors import OnnxError, OptionError
from edgerep.export.graph.exact_repairs import repair_exactly
from edgerep.export.graph.normalisation import (
    fold_factor_in_place,
    prepend_normalisation_in_place,
)
from edgerep.export.graph.onnx_file import Graph, read_model
from edgerep.export.graph.rebatching import close_batch_in_place, with_batch
from edgerep.export.graph.writing import write_graph
from edgerep.export.precision.calibration import with_images_for
from edgerep.export.precision.float16 import float16_graph
from edgerep.export.precision.fp8 import FP8, in_fp8
from edgerep.export.precision.half import convert_to_half
from edgerep.export.precision.int8.quantisation import quantised
from edgerep.export.precision.int8_weights import with_int8_weights
from edgerep.export.precision.named_nodes import named_nodes
from edgerep.export.precision.narrow_types import NARROW_TYPES
from edgerep.export.precision.settings import DEFAULTS, PrecisionSettings, names_in, silent


def apply_precision(
    model: onnx.ModelProto,
    precision: str,
    preprocessing: Preprocessing,
    settings: PrecisionSettings = DEFAULTS,
    *,
    batch: BatchProfile,
) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
    """A float32 graph in `precision`, with `preprocessing` in front of it in float32.

    The factor goes into the float32 weights first, so that they are rounded once. The model that
    was given stays as it is; it is returned itself where nothing is to be done.

    Args:
        model: The graph.
        precision: One of `PRECISIONS`.
        preprocessing: What is put in front.
        settings: Of the precision.
        batch: The sizes that the graph takes.

    Returns:
        The graph, and what is to be noted among its options.

    Raises:
        DataError: The calibration images cannot be used.
        OnnxError: float16 cannot hold a constant, or the preprocessing finds no float32 image.
        OptionError: `mean` or `std` has neither one number nor one per channel, or `settings` names
            a layer that is none or a budget that cannot be kept.
    """
    settings.require_for(precision)
    noted: dict[str, Any] = {}
    folded = False
    if not preprocessing.is_identity:
        model = _copy(model)
        folded = fold_factor_in_place(model, preprocessing)
    if precision == "fp16":
        made = float16_graph(model, settings, preprocessing, with_factor=not folded)
        model, noted["range"] = made.model, made.note
    elif precision in NARROW_TYPES:
        kept = named_nodes(model, settings.keep_fp32)
        model = convert_to_half(model, NARROW_TYPES[precision], kept)
    if not preprocessing.is_identity:
        prepend_normalisation_in_place(model, preprocessing, with_factor=not folded)
    if precision == "int8-weights":
        model, noted[precision] = with_int8_weights(model, settings.keep_fp32)
    if precision == "int8":  # calibrated on images as the graph takes them
        model, noted["int8"] = quantised(model, settings, batch)
    if precision == FP8:
        model, noted[FP8] = in_fp8(model, settings, batch)
    return model, noted


def require_adaptable(graph: Graph, precision: str, preprocessing: Preprocessing) -> None:
    """Refuse what `adapt_onnx` cannot do to a graph, from what is known of it without its weights.

    Raises:
        OptionError: As `adapt_onnx`, but for the batch and the path.
    """
    preprocessing.require_plausible()
    if precision not in (*PRECISIONS, graph.precision):
        raise OptionError(f"precision {precision!r} is not one of {PRECISIONS}")
    if graph.precision != "fp32" and precision != graph.precision:
        raise OptionError(
            f"{graph.path} is {graph.precision} already; {precision} can only be made from fp32"
        )
    if not preprocessing.is_identity and _has_preprocessing(graph):
        raise OptionError(
            f"{graph.path} was exported with preprocessing, {graph.options['preprocessing']}: "
            f"more of it can only be put into a graph without"
        )
    for spec in graph.inputs if not preprocessing.is_identity else ():
        if len(spec.shape) == 4 and spec.shape[1] is not None:
            preprocessing.subtrahend(spec.shape[1])
            preprocessing.factor(spec.shape[1])


def adapt_onnx(
    graph: Graph,
    path: str | Path,
    *,
    precision: str = "fp32",
    preprocessing: Preprocessing = NO_PREPROCESSING,
    batch: BatchProfile | None = None,
    repair: bool = False,
    calibration: Given | None = None,
    keep_fp32: Sequence[str] = (),
    max_drop: float | None = None,
    min_sqnr: float | None = None,
    without: Sequence[str] = (),
    watch: Callable[[str, int, int], None] = silent,
) -> Graph:
    """Write another ONNX file from one: in float16, with preprocessing, for other batch sizes.

    Args:
        graph: The file that is there.
        path: Of the file to write.
        precision: One of `PRECISIONS`; of a graph that is not float32, its own.
        preprocessing: What is put in front.
        calibration: Images of the user's own, from which INT8 is made: the path of a folder of
            pictures or of a file of arrays, an array or an iterable of arrays as the graph takes
            them, [N, C, H, W], or what `edgerep.read_images` returned. 256 or more are asked for.
        keep_fp32: Names of layers that stay in float32.
        max_drop: INT8: of the held-out images, how many in a hundred may be answered otherwise
            than in float32; layers stay in float32 until it is kept.
        min_sqnr: INT8: signal to quantisation noise of every output, in decibels; likewise.
        without: Stages of INT8 that are left out: "equalisation", "rounding", "bias".
        watch: Told on the way what is being done, how far it is, and of how much.
        batch: Sizes for a graph that leaves its batch open; None for those it is made for. One
            size closes it.
        repair: Rewrite Q/DQ that TensorRT does not take, where that changes no number
            (`repair_exactly`); what was done stands in the options, as "repaired".

    Raises:
        OptionError: The precision is unknown, the graph is float16 and float32 was asked for,
            `mean` or `std` has neither one number nor one per channel, the graph is for another
            batch or has its preprocessing already, or `path` is a folder.
        OnnxError: The graph cannot be read, has no float32 image input for preprocessing, or has a
            weight that float16 cannot hold.
        OutputError: The file cannot be written.
    """
    require_adaptable(graph, precision, preprocessing)
    settings = PrecisionSettings(
        names_in(keep_fp32), calibration, max_drop, min_sqnr, names_in(without), watch
    )
    if graph.precision == "fp32":
        settings.require_for(precision)
        inside = preprocessing_from(graph.options) if preprocessing.is_identity else preprocessing
        settings = with_images_for(settings, graph.inputs, inside)
    model = read_model(graph.path)
    noted: Mapping[str, Any] = {}
    if batch is not None:
        graph = with_batch(graph, batch)
        if batch.is_static:
            close_batch_in_place(model, batch.smallest)
    if graph.precision == "fp32":
        model, noted = apply_precision(model, precision, preprocessing, settings, batch=graph.batch)
    elif not preprocessing.is_identity:
        prepend_normalisation_in_place(model, preprocessing, with_factor=True)
    options = {**graph.options, "precision": precision, **noted}
    if repair:
        repaired = repair_exactly(model)
        model, options["repaired"] = repaired.model, list(repaired.done)
    if not preprocessing.is_identity:
        options["preprocessing"] = asdict(preprocessing)
    try:
        return write_graph(
            model,
            Path(path),
            form=graph.form,
            batch=graph.batch,
            made_from=graph.lineage,
            options=options,
        )
    except OnnxError as error:  # which speaks of what was made: say of what
        raise OnnxError(f"{graph.path} cannot be written as {precision}: {error}") from error


def _has_preprocessing(graph: Graph) -> bool:
    there = graph.options.get("preprocessing")
    return bool(there) and there != json.loads(json.dumps(asdict(NO_PREPROCESSING)))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy

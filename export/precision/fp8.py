"""Eight-bit floating point (E4M3): codes with three bits of fraction, beside what INT8 would give.

Per-tensor scales of activations from calibration images, per-channel scales of weights, float32
biases, pairs where INT8 has them (`int8/placement.py`): TensorRT 10's rules for FP8, which runs on
GPUs from Ada on. The format: Micikevicius et al., "FP8 formats for deep learning", arXiv
2209.05433; its largest number is 448.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import GraphIndex, opset_of
from edgerep.export.graph.opset import convert_opset
from edgerep.export.precision.int8.base import unscaled
from edgerep.export.precision.int8.comparison import HeldOut
from edgerep.export.precision.int8.findings import Tried
from edgerep.export.precision.int8.ground import Ground, prepare
from edgerep.export.precision.int8.placement import placement_of
from edgerep.export.precision.int8.qdq_writer import Codes, with_pairs, write_weights_in_place
from edgerep.export.precision.int8.recipe import Recipe, quantise
from edgerep.export.precision.int8.rounding import row_scales
from edgerep.export.precision.int8.steps import largest_steps
from edgerep.export.precision.int8.weights import laid_out, shared_steps
from edgerep.export.precision.layers import Layer
from edgerep.export.precision.settings import PrecisionSettings

FP8 = "fp8"
LARGEST = 448  # of E4M3, which has no infinity
_OPSET = 19  # the lowest in which QuantizeLinear gives such codes


def in_fp8(
    model: onnx.ModelProto, settings: PrecisionSettings, batch: BatchProfile
) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
    """A float32 graph with pairs of E4M3, and how it compares with INT8 on held-out images.

    INT8 is made too, by its whole recipe, and thrown away: what it would give is the question that
    decides for or against this format.

    Args:
        model: Its preprocessing included.
        settings: Its calibration images among them.
        batch: The sizes that the graph takes.

    Returns:
        The graph, of opset 19 at least, and the JSON of what was found: `candidates` with what was
        made first, then INT8's; `better` is the name of the candidate of INT8 that is closer to
        float32 than what was made, or None.

    Raises:
        DataError: There are too few images.
        OnnxError: ONNX Runtime cannot run the graph, or it cannot be written in opset 19.
        OptionError: A layer that is to be kept is none.
    """
    if opset_of(model) < _OPSET:
        model = convert_opset(model, _OPSET)
    fixed = batch.smallest if batch.is_static else None
    placement = placement_of(model, settings.keep_fp32)
    ground = prepare(
        model, placement, settings.calibration, batch=fixed, threads=0, watch=settings.watch
    )
    made = _written(ground)
    own = HeldOut(ground, 0).likeness(made)
    _, integers = quantise(
        model,
        settings.calibration,
        batch=fixed,
        recipe=Recipe(keep=settings.keep_fp32),
        watch=settings.watch,
    )
    best = integers.likeness
    others = [Tried(f"int8 {one.name}", one.likeness) for one in integers.candidates]
    note = {
        "chosen": FP8,
        "candidates": [one.to_json() for one in (Tried(FP8, own), *others)],
        "layers": [{"name": one.name, "operator": one.operator} for one in placement.layers],
        "kept": dict(placement.kept),
        "images": ground.images,
        "held_out": ground.others,
        "better": f"int8 {integers.chosen}" if best.sqnr_db > own.sqnr_db else None,
    }
    return made, note


def _written(ground: Ground) -> onnx.ModelProto:
    """The graph with its pairs; the largest number that was seen has the largest code."""
    steps = largest_steps(ground, unscaled(ground.model), LARGEST)
    made = with_pairs(ground.model, ground.placement.pairs, steps, TensorProto.FLOAT8E4M3FN)
    index = GraphIndex(ground.model.graph)
    weights = {layer.name: index.constant(layer.weight) for layer in ground.placement.layers}
    codes = {
        layer.name: _codes(layer, weight)
        for layer in ground.placement.layers
        if (weight := weights[layer.name]) is not None
    }
    write_weights_in_place(made, ground.placement.layers, codes)
    return made


def _codes(layer: Layer, weight: Array) -> Codes:
    rows = layer.rows(weight)
    flat = rows.reshape(*rows.shape[:2], -1)
    scales = shared_steps(layer, row_scales(flat, LARGEST))
    scaled = np.clip(flat / scales[:, :, None], -LARGEST, LARGEST).astype(np.float32)
    kind = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN)
    return laid_out(layer, weight, scaled.astype(kind), scales)

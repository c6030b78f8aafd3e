"""A float32 graph as a float16 graph that its own numbers fit into.

First the graph is run on images to see what its layers give. Channels that float16 cannot hold, or
holds badly, are rescaled by powers of two where nothing else changes by it; around what is left,
the fewest nodes stay float32. What was seen and done is noted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgerep.artefacts.tensors import TensorSpec
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import MissingDependencyError, OnnxError, first_line
from edgerep.export.graph.element_types import element_types
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.inner_tensors import sums_of
from edgerep.export.graph.normalisation import prepend_normalisation_in_place
from edgerep.export.precision.float16_scales import after_rescaling, float16_scales
from edgerep.export.precision.free_scales import FreeScales, free_scales
from edgerep.export.precision.half import convert_to_half
from edgerep.export.precision.islands import nodes_around
from edgerep.export.precision.named_nodes import named_nodes
from edgerep.export.precision.ranges import (
    LARGEST,
    NORMAL_FROM,
    PASSING,
    WARNED_FROM,
    LayerRange,
    Ranges,
    measure_ranges,
)
from edgerep.export.precision.rescaling import rescaled
from edgerep.export.precision.settings import PrecisionSettings

KEPT_FROM = LARGEST / 2  # what is left above it stays float32


@dataclass(frozen=True, eq=False)
class Float16Graph:
    """A float16 graph, and what was seen and done on the way.

    Attributes:
        model: The graph.
        note: For the options of the file, under "range".
    """

    model: onnx.ModelProto
    note: Mapping[str, Any]


def float16_graph(
    model: onnx.ModelProto,
    settings: PrecisionSettings,
    preprocessing: Preprocessing,
    *,
    with_factor: bool,
) -> Float16Graph:
    """A float32 graph in float16, rescaled and with nodes kept in float32 where it has to be.

    Args:
        model: Without its preprocessing; it stays as it is.
        settings: With the images to look at, and the names of what is to stay float32.
        preprocessing: What will stand in front of it.
        with_factor: Whether the factor of that is not in the weights already.

    Raises:
        OnnxError: As `convert_to_half`.
        OptionError: A name of `settings.keep_fp32` is in no node of the graph.
    """
    by_hand = named_nodes(model, settings.keep_fp32)
    free: FreeScales | None = None
    ranges: Ranges | None = None
    why = ""
    whole = _copy(model)
    if not preprocessing.is_identity:
        prepend_normalisation_in_place(whole, preprocessing, with_factor=with_factor)
    try:
        free = free_scales(model)
        ranges = measure_ranges(whole, _specs(whole), settings.calibration, free=free)
    except (MissingDependencyError, OnnxError) as error:
        why = first_line(error)
    if free is None or ranges is None:
        half = convert_to_half(model, kept=by_hand)
        return Float16Graph(half, {"measured_on": None, "why_not": why, **_kept(model, by_hand)})
    scales = float16_scales(free, ranges)
    if (scales != 1).any():
        model = rescaled(model, free, scales)
    nodes = after_rescaling(free, ranges, scales)
    too_large = [one.tensor for one in nodes if one.finite and one.largest > KEPT_FROM]
    kept = by_hand | nodes_around(model, _handed_on(model, too_large))
    kept |= _reading_large_constants(model)
    half = convert_to_half(model, kept=kept)
    note = {
        "measured_on": ranges.measured_on,
        "count": ranges.count,
        "limit": LARGEST,
        "layers": _layers(ranges.nodes, nodes),
        "rescaled": _rescaled_note(scales),
        **_kept(model, kept),
        "warnings": list(_warnings(model, nodes, kept)),
    }
    return Float16Graph(half, note)


def _handed_on(model: onnx.ModelProto, large: Collection[str]) -> set[str]:
    """Tensors, and what is made of them by nodes that only hand numbers on: that is as large."""
    wide = set(large)
    types = element_types(model) if wide else {}
    for node in model.graph.node:
        if node.op_type in PASSING and wide.intersection(node.input):
            wide.update(name for name in node.output if types.get(name) == onnx.TensorProto.FLOAT)
    return wide


def _reading_large_constants(model: onnx.ModelProto) -> frozenset[str]:
    index = GraphIndex(model.graph)
    large = [
        name
        for name, values in index.constants()
        if values.dtype == np.float32
        and np.abs(values[np.isfinite(values)]).max(initial=0) > LARGEST
    ]
    return nodes_around(model, large) if large else frozenset()


def _layers(before: Sequence[LayerRange], after: Sequence[LayerRange]) -> list[dict[str, Any]]:
    return [
        {
            "name": new.name,
            "operator": new.operator,
            "low": new.low,
            "high": new.high,
            "typical": new.typical,
            "before": old.largest,
        }
        for old, new in zip(before, after, strict=True)
        if new.finite
    ]


def _rescaled_note(scales: NDArray[np.float64]) -> dict[str, Any]:
    changed = scales[scales != 1]
    return {
        "channels": len(changed),
        "largest": float(changed.max(initial=1.0)),
        "smallest": float(changed.min(initial=1.0)),
    }


def _kept(model: onnx.ModelProto, kept: Collection[str]) -> dict[str, Any]:
    names = [n.name or n.output[0] for n in model.graph.node if n.output[0] in kept]
    return {"kept_fp32": names}


def _warnings(
    model: onnx.ModelProto, nodes: Sequence[LayerRange], kept: Collection[str]
) -> list[str]:
    inside = {name for n in model.graph.node if n.output[0] in kept for name in n.output}
    sums = sums_of(model.graph)
    found = []
    for one in nodes:
        if one.tensor in inside or not one.finite:
            continue
        if one.largest > WARNED_FROM:
            found.append(
                f"`{one.name}` ({one.operator}) reaches {one.largest:.3g}, "
                f"{one.largest / LARGEST:.0%} of what float16 holds: another image may give more"
            )
        elif one.tensor in sums and 0 < one.typical < NORMAL_FROM:
            found.append(
                f"`{one.name}` ({one.operator}) typically gives {one.typical:.1g}, below 6.1e-5, "
                f"where float16 has fewer digits"
            )
    return found


def _specs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    specs = []
    for value in GraphIndex(model.graph).inputs:
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value or None for dim in kind.shape.dim)
        dtype = str(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)))
        specs.append(TensorSpec(value.name, dtype, shape))
    return tuple(specs)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy

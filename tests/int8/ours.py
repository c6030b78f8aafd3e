"""The recipe under test: in eight bits as a user calls it, in fewer by its inner function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgerep.export.graph.onnx_file import Graph
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.export.precision.free_scales import free_scales
from edgerep.export.precision.int8.base import rescaled_base
from edgerep.export.precision.int8.equalisation import equalising_scales
from edgerep.export.precision.int8.ground import prepare
from edgerep.export.precision.int8.placement import placement_of
from edgerep.export.precision.int8.qdq_writer import with_pairs
from edgerep.export.precision.int8.recipe import Recipe, quantise
from edgerep.export.precision.int8.steps import searched_steps
from edgerep.export.precision.settings import STAGES, silent

Floats = NDArray[np.float32]


def recipe(graph: Graph, bits: int, target: Path, images: Floats) -> dict[str, Any]:
    """Write the quantised graph to `target`; the JSON of what was found on the way."""
    if bits == 8:
        made = adapt_onnx(graph, target, precision="int8", calibration=images)
        return dict(made.options["int8"])
    return _simulated(graph, bits, target, images, Recipe(levels=_levels(bits)))


def plain(graph: Graph, bits: int, target: Path, images: Floats) -> dict[str, Any]:
    """As `recipe`, with every stage switched off."""
    how = Recipe(levels=_levels(bits), without=STAGES)
    return _simulated(graph, bits, target, images, how)


def activations_alone(source: Path, target: Path, images: Floats) -> None:
    """Write the graph whose activations alone are in eight bits: what no weights can exceed."""
    model = onnx.load(source)
    ground = prepare(model, placement_of(model), images, batch=None, threads=0, watch=silent)
    ranges = {name: seen.largest for name, seen in ground.seen.items()}
    free = free_scales(model)
    base = rescaled_base(model, free, equalising_scales(model, free, ranges, 1.0))
    steps = searched_steps(ground, base, levels=_levels(8), seed=0, threads=0)
    onnx.save(with_pairs(base.model, ground.placement.pairs, steps), target)


def _simulated(
    graph: Graph, bits: int, target: Path, images: Floats, how: Recipe
) -> dict[str, Any]:
    made, findings = quantise(onnx.load(graph.path), images, recipe=how)
    onnx.save(with_fewer_codes(made, _levels(bits)), target)
    return findings.to_json()


def _levels(bits: int) -> int:
    return int(2 ** (bits - 1) - 1)


def with_fewer_codes(model: onnx.ModelProto, levels: int) -> onnx.ModelProto:
    """Saturate what is quantised at `levels` steps: int8 stands in for a narrower format.

    Weights must have no larger code already.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = {one.name: one for one in made.graph.initializer}
    nodes = []
    for node in made.graph.node:
        if node.op_type == "QuantizeLinear":
            step = float(numpy_helper.to_array(constants[node.input[1]]))
            bounds = [f"{node.output[0]}.{end}" for end in ("low", "high")]
            for name, end in zip(bounds, (-1, 1), strict=True):
                limit = np.array(end * levels * step, np.float32)
                made.graph.initializer.append(numpy_helper.from_array(limit, name))
            clipped = f"{node.output[0]}.clipped"
            nodes.append(helper.make_node("Clip", [node.input[0], *bounds], [clipped]))
            node.input[0] = clipped
        nodes.append(node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made

"""One way to quantise a graph: the float graph it begins with, steps, codes and biases."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.export.precision.int8.base import Base, LayerWeights
from edgerep.export.precision.int8.ground import Ground, Watch
from edgerep.export.precision.int8.placement import Placement
from edgerep.export.precision.int8.qdq_writer import Codes, with_pairs, write_weights_in_place
from edgerep.export.precision.int8.walk import Walk, answer_of, mean_codes
from edgerep.export.precision.int8.weights import codes_together, nearest_codes
from edgerep.export.precision.layers import Layer, put_constant_in_place

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to quantise a graph.

    Attributes:
        base: The float graph that it begins with.
        placement: What of it is quantised.
        steps: The step of each group of pairs.
        codes: The weights of each layer, by name.
        biases: New biases, by the name of the layer, where they were corrected.
    """

    base: Base
    placement: Placement
    steps: Mapping[int, float]
    codes: Mapping[str, Codes]
    biases: Mapping[str, Array]

    def without(self, names: Collection[str], why: str) -> Candidate:
        """The same with some of the layers in floating point."""
        return replace(self, placement=self.placement.without(names, why))

    def model(self) -> onnx.ModelProto:
        """The graph with its pairs, its codes and its biases."""
        model = with_pairs(self.base.model, self.placement.pairs, self.steps)
        nodes = {node.output[0]: node for node in model.graph.node if node.output}
        for layer in self.placement.layers:
            if layer.name in self.biases:
                node, bias = nodes[layer.output], self.biases[layer.name]
                put_constant_in_place(model.graph, node, 2, bias, f"{layer.name}.bias")
        write_weights_in_place(model, self.placement.layers, self.codes)
        return model


def rounded_by_itself(
    ground: Ground, base: Base, steps: Mapping[int, float], *, levels: int
) -> Candidate:
    """Every weight rounded by itself, biases as they are.

    Args:
        ground: What was seen.
        base: The float graph to begin with.
        steps: The step of each group of pairs.
        levels: The largest code.
    """
    weights = LayerWeights(base.model)
    codes = {
        layer.name: nearest_codes(layer, weights.weight(layer), levels)
        for layer in ground.placement.layers
    }
    return Candidate(base, ground.placement, steps, codes, {})


def rounded_in_order(
    ground: Ground,
    base: Base,
    steps: Mapping[int, float],
    stages: Collection[str],
    *,
    levels: int,
    seed: int,
    threads: int,
    watch: Watch,
) -> Candidate:
    """Layer by layer, each on what the quantised layers before it make.

    Args:
        ground: What was seen, and the images.
        base: The float graph to begin with.
        stages: "rounding": weights are rounded together; "bias": the mean error is taken back
            (sequential bias correction; Nagel et al., arXiv 1906.04721, section 4.2).
        steps: The step of each group of pairs.
        levels: The largest code.
        seed: Of the positions that are drawn.
        threads: Cores that ONNX Runtime may use; 0 leaves its own choice.
        watch: Told how far it is.
    """
    layers = ground.placement.layers
    groups = {pair.tensor: pair.group for pair in ground.placement.pairs}
    walk = Walk(
        with_pairs(base.model, ground.placement.pairs, steps), layers, ground.calibration, threads
    )
    weights = LayerWeights(base.model)
    codes: dict[str, Codes] = {}
    biases: dict[str, Array] = {}
    for at, layer in enumerate(layers):
        watch("rounding of weights, layer", at, len(layers))
        blocks = walk.codes(layer)
        weight, bias = weights.weight(layer), weights.bias(layer)
        together = "rounding" in stages
        found = (
            codes_together(layer, weight, blocks, levels, seed)
            if together
            else nearest_codes(layer, weight, levels)
        )
        values = found.values(layer)
        if "bias" in stages and layer.operator != "MatMul":
            source = (mean_codes(blocks) * steps[groups[layer.source]]).astype(np.float32)
            wanted = ground.means[layer.output] / base.divided(layer.output, layer.source_axis)
            bias = _corrected(layer, values, bias, source, wanted)
            biases[layer.name] = bias
        walk.put(layer, values, bias)
        codes[layer.name] = found
    return Candidate(base, ground.placement, steps, codes, biases)


def _corrected(
    layer: Layer, values: Array, bias: Array | None, source: Array, wanted: Doubles
) -> Array:
    """Biases with which the mean of a layer's output is what it is in float32.

    A layer is linear, so that it makes the mean output of the mean input.
    """
    start = np.zeros(len(wanted), np.float32) if bias is None else bias
    answer = answer_of(layer, values, start, source)
    mean = answer.mean(axis=tuple(axis for axis in range(answer.ndim) if axis != 1))
    result: Array = (start + (wanted - mean)).astype(np.float32)
    return result

"""The float graph that a candidate begins with: the given one, perhaps with other scales inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import GraphIndex
from edgerep.export.precision.free_scales import FreeScales
from edgerep.export.precision.layers import Layer
from edgerep.export.precision.rescaling import rescaled

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Base:
    """A float graph that computes what the given one does, perhaps with other scales inside.

    Attributes:
        model: The graph.
        free: The scales that were open; None where none was changed.
        scales: By which channels were divided.
    """

    model: onnx.ModelProto
    free: FreeScales | None
    scales: Doubles

    def divided(self, name: str, axis: int) -> Doubles:
        """By how much each channel of a tensor was divided, [C], or one number for all."""
        if self.free is None or name not in self.free.variables:
            return np.ones(1)
        return self.scales[self.free.of(name, axis)]


def unscaled(model: onnx.ModelProto) -> Base:
    """The graph itself."""
    return Base(model, None, np.ones(1))


def rescaled_base(model: onnx.ModelProto, free: FreeScales, scales: Doubles) -> Base:
    """The graph with its channels divided by `scales`."""
    return Base(rescaled(model, free, scales), free, scales)


class LayerWeights:
    """The float weights and biases of layers, as a graph has them.

    Args:
        model: The graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._index = GraphIndex(model.graph)

    def weight(self, layer: Layer) -> Array:
        """Its weights, in their own shape."""
        return self._input(layer, 1)

    def bias(self, layer: Layer) -> Array | None:
        """Its biases, [outputs]; None if it has none."""
        return self._input(layer, 2) if layer.bias else None

    def _input(self, layer: Layer, at: int) -> Array:
        found = self._index.constant(self._index.makers[layer.output].input[at])
        assert found is not None  # or it would be no layer
        return found

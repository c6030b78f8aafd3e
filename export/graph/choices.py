"""Where an ONNX graph chooses: by what, and what it chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx

from edgerep.artefacts.tensors import Array

_BEST = {"ArgMax", "ArgMin"}  # of one axis; `TopK` has a second output for what it chose


@dataclass(frozen=True, slots=True)
class GraphChoice:
    """One node that chooses along one axis.

    Attributes:
        node: Its operator.
        scores: The tensor that it chooses by.
        indices: The tensor of what it chose.
        axis: As the node states it; -1 is the last.
        dropped: Whether `indices` lacks that axis.
    """

    node: str
    scores: str
    indices: str
    axis: int
    dropped: bool

    kind: ClassVar[str] = "best"

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that tell what it did."""
        return self.scores, self.indices

    def seen(self, found: Sequence[Array]) -> tuple[Array, Array]:
        """What it went by, and what it chose (int64, the axis kept), from `tensors`."""
        scores, indices = found
        axis = self.axis % scores.ndim
        return scores, (np.expand_dims(indices, axis) if self.dropped else indices).astype(np.int64)


def choices_in(graph: onnx.GraphProto) -> tuple[GraphChoice, ...]:
    """The nodes of a graph that choose by what its other nodes compute, in their order."""
    computed = {name for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        numbers = {attribute.name: attribute.i for attribute in node.attribute}
        scores = node.input[0] if node.input else ""
        if scores not in computed:
            continue
        if node.op_type == "TopK" and len(node.output) == 2 and node.output[1]:
            axis = numbers.get("axis", -1)
            found.append(GraphChoice("TopK", scores, node.output[1], axis, dropped=False))
        elif node.op_type in _BEST:
            dropped = not numbers.get("keepdims", 1)
            axis = numbers.get("axis", 0)
            found.append(GraphChoice(node.op_type, scores, node.output[0], axis, dropped))
    return tuple(found)

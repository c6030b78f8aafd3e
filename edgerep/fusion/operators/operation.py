"""What a node of a traced graph can be, in the terms of the algebra."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor, fx, nn

from edgerep.fusion.algebra.linear_map import LinearMap
from edgerep.fusion.trace.constants import Constants
from edgerep.fusion.trace.graph_run import Fact

Node: TypeAlias = fx.Node


@dataclass(frozen=True, eq=False)
class Step:
    """A linear map of one tensor.

    Attributes:
        source: What it reads.
        map: What it does.
        fill: What a padding is filled with, [channels] float64; None for zeros.
        is_batchnorm: It is a BatchNorm, for the count.
        is_layer: It has weights of its own, or pools: a region needs one.
    """

    source: Node
    map: LinearMap
    fill: Tensor | None = None
    is_batchnorm: bool = False
    is_layer: bool = False


@dataclass(frozen=True, eq=False)
class Sum:
    """Tensors of one shape, each times a number, summed, plus a constant per channel."""

    terms: tuple[tuple[float, Node], ...]
    shift: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Same:
    """Hands its input on."""

    source: Node


Operation: TypeAlias = Step | Sum | Same


@dataclass(frozen=True, eq=False)
class View:
    """A graph as this module reads it.

    Attributes:
        module: Whose graph it is.
        constants: Of the graph.
        facts: Of the tensors, from a run.
        leaf: The map of a sub-module that could not be traced; None where it is none.
        memory: The node that made the memory of each tensor, from the same run.
        writes: The memories that a node writes to.
    """

    module: nn.Module
    constants: Constants
    facts: Mapping[Node, Fact]
    leaf: Callable[[str], LinearMap | None] = lambda path: None
    memory: Mapping[Node, Node] = field(default_factory=dict)
    writes: Mapping[Node, frozenset[Node]] = field(default_factory=dict)

    def is_image(self, value: Any) -> bool:
        """A floating-point tensor that depends on the input, [N, C, ...]."""
        if not isinstance(value, fx.Node) or self.constants.holds(value):
            return False
        fact = self.facts.get(value)
        return fact is not None and len(fact.shape) >= 2 and fact.dtype.is_floating_point

    def axes(self, node: Node) -> int:
        return len(self.facts[node].shape) - 2

    def channels(self, node: Node) -> int:
        return self.facts[node].shape[1]


def source_of(operations: Mapping[Node, Operation], node: Node) -> Node:
    """Where a value that was only handed on comes from."""
    while isinstance(operation := operations.get(node), Same):
        node = operation.source
    return node

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
        pools: It is an average pool.
        is_computed: Its weights are computed whenever it runs: it is worth a layer by itself.
        parts: Other nodes that belong to it: what is written into its result afterwards, or the
            split that it is a part of.
        selects: It takes some of the channels, as they are.
    """

    source: Node
    map: LinearMap
    fill: Tensor | None = None
    is_batchnorm: bool = False
    is_layer: bool = False
    pools: bool = False
    is_computed: bool = False
    parts: tuple[Node, ...] = ()
    selects: bool = False

    @property
    def sources(self) -> tuple[Node, ...]:
        return (self.source,)

    @property
    def extends(self) -> bool:
        """Whether it only pads, with other numbers than zeros: a layer does just that as well."""
        return not self.is_layer and self.map.beyond not in (None, "zeros")


@dataclass(frozen=True, eq=False)
class Sum:
    """Tensors of one shape, each times a number, summed, plus a constant per channel."""

    terms: tuple[tuple[float, Node], ...]
    shift: Tensor | None = None

    @property
    def sources(self) -> tuple[Node, ...]:
        return tuple(source for _, source in self.terms)


@dataclass(frozen=True, eq=False)
class Concat:
    """Tensors one behind another along the channels."""

    sources: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Same:
    """Hands its input on."""

    source: Node

    @property
    def sources(self) -> tuple[Node, ...]:
        return (self.source,)


Operation: TypeAlias = Step | Sum | Concat | Same


@dataclass(frozen=True, eq=False)
class View:
    """A graph with what a run showed of its values: all that reading its nodes needs.

    Attributes:
        module: Whose graph it is.
        constants: The values of the graph that depend on no input.
        facts: Shape, type and device of each tensor, from a run.
        leaf: By path, the map of a sub-module that could not be traced; None where it is none.
        memory: The node that made the memory of each tensor, from the same run.
        writes: For each node, the memories that it writes to, each by the node that made it.
    """

    module: nn.Module
    constants: Constants
    facts: Mapping[Node, Fact]
    leaf: Callable[[str], LinearMap | None] = lambda path: None
    memory: Mapping[Node, Node] = field(default_factory=dict)
    writes: Mapping[Node, frozenset[Node]] = field(default_factory=dict)

    def is_activation(self, value: Any) -> bool:
        """Whether a value is a floating-point tensor that depends on the input, [N, C, ...].

        An image, a signal or a volume; a vector [N, C] too.
        """
        if not isinstance(value, fx.Node) or self.constants.holds(value):
            return False
        fact = self.facts.get(value)
        return fact is not None and len(fact.shape) >= 2 and fact.dtype.is_floating_point

    def axes(self, node: Node) -> int:
        """How many spatial axes a value has; 0 for a vector."""
        return len(self.facts[node].shape) - 2

    def channels(self, node: Node) -> int:
        return self.facts[node].shape[1]


def source_of(operations: Mapping[Node, Operation], node: Node) -> Node:
    """Where a value that was only handed on comes from."""
    while isinstance(operation := operations.get(node), Same):
        node = operation.source
    return node

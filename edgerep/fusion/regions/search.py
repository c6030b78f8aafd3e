"""Find the parts of a traced graph that are one convolution each.

Every tensor gets the linear maps it is of the tensors before it (its bases). A region is a map's
nodes; it is folded where nothing outside reads its inner values, where the multiply-adds do not
grow, and where nothing changes its base in place between two of its reads. Regions that overlap
compete: the one that saves most wins, and of equals the one that begins with a layer, so that a
BatchNorm goes into the convolution before it and not into the one behind it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import fx

from edgerep.fusion.algebra.layer import Settled, settle
from edgerep.fusion.operators.borders import bordered
from edgerep.fusion.operators.operation import Node, Operation, Same, Step, Sum, View
from edgerep.fusion.operators.reading import read_operation
from edgerep.fusion.regions.forms import Form, forms_of
from edgerep.fusion.regions.readers import Readers


@dataclass(frozen=True, eq=False)
class Region:
    """Nodes that compute one map of one tensor.

    Attributes:
        base: The tensor that is read; not part of the region.
        nodes: In the order of the graph; the last gives the result.
        settled: The map, as a layer.
        batchnorms: How many of the nodes are BatchNorms.
        layers: How many have weights of their own, or pool.
        saved: Multiply-adds for one image, at the size traced, that folding saves.
        starts_with_layer: What reads the base is a layer, and not a BatchNorm or a sum only.
        carried: The layout changes between its layer and its BatchNorm; the code that does it
            stays, and only the modules are exchanged.
    """

    base: Node
    nodes: tuple[Node, ...]
    settled: Settled
    batchnorms: int
    layers: int
    saved: int
    starts_with_layer: bool
    carried: bool = False

    @property
    def last(self) -> Node:
        return self.nodes[-1]


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found in a graph.

    Attributes:
        regions: To be folded; no node is in two of them.
        operations: Of each node that the algebra can read.
        refused: Why a node was not joined with what it reads, or with its readers.
    """

    regions: tuple[Region, ...]
    operations: Mapping[Node, Operation]
    refused: Mapping[Node, str]


def find_regions(view: View, graph: fx.Graph) -> Findings:
    """The regions of a graph that are worth folding, and why others are not."""
    operations = _operations(view, graph)
    reading = Readers(view, graph, operations)
    refused: dict[Node, str] = {}
    candidates = [
        region
        for last, forms in forms_of(view, operations, refused).items()
        for base, form in forms.items()
        if (region := _candidate(view, operations, base, last, form, reading, refused)) is not None
    ]
    return Findings(_chosen(candidates, reading), operations, refused)


def _operations(view: View, graph: fx.Graph) -> dict[Node, Operation]:
    """What the nodes of a graph do, of those that do not write to what they are given."""
    writers: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        for memory in view.writes.get(node, ()):
            writers.setdefault(memory, []).append(node)
    found: dict[Node, Operation] = {}
    for node in graph.nodes:
        if view.writes.get(node):
            continue
        operation: Operation | None = None
        if node in writers:
            operation = bordered(view, node, writers[node])
        if operation is None:
            operation = read_operation(view, node)
        if operation is None:
            continue
        if isinstance(operation, Same) and _is_written_copy(view, node, operation, writers):
            continue
        found[node] = operation
    return found


def _is_written_copy(view: View, node: Node, same: Same, written: Collection[Node]) -> bool:
    """Whether a node copies what it hands on, and the copy or the original is written to."""
    pair = {view.memory.get(node, node), view.memory.get(same.source, same.source)}
    return len(pair) == 2 and not pair.isdisjoint(written)


def _candidate(
    view: View,
    operations: Mapping[Node, Operation],
    base: Node,
    last: Node,
    form: Form,
    reading: Readers,
    refused: dict[Node, str],
) -> Region | None:
    nodes = tuple(sorted(form.nodes, key=reading.order.__getitem__))
    if nodes[-1] is not last:
        return None  # what is written into a result would be read by nobody within
    steps = [op for node in nodes if isinstance(op := operations.get(node), Step)]
    layers = sum(step.is_layer for step in steps)
    computed = any(step.is_computed for step in steps)
    worth = sum(not (isinstance(op := operations.get(node), Step) and op.extends) for node in nodes)
    if not layers or (worth < 2 and not computed):
        return None
    if _is_pool_alone(operations, nodes):
        return None
    if view.facts[base].dtype != view.facts[nodes[-1]].dtype:
        return None
    if not reading.is_closed(nodes, nodes[-1]):
        refused.setdefault(nodes[-1], "something else reads a value in between")
        return None
    if not reading.is_steady(base, form.nodes):
        refused[nodes[-1]] = "what its branches read is changed in place between them"
        return None
    settled = settle(form.map)
    new = settled.weights * _places(view, base if settled.source.up else nodes[-1])
    old = {
        node: _multiply_adds(view, node, operations[node]) for node in nodes if node in operations
    }
    by_layers = sum(
        cost for node, cost in old.items()
        if isinstance(op := operations[node], Step) and op.is_layer
    )  # fmt: skip
    if new > by_layers:
        refused.setdefault(nodes[-1], "one convolution would take more multiply-adds")
        return None
    readers = reading.readers.get(base, set()) & form.nodes
    first = [operations[node] for node in readers if node in operations]
    return Region(
        base=base,
        nodes=nodes,
        settled=settled,
        batchnorms=sum(step.is_batchnorm for step in steps),
        layers=layers,
        saved=sum(old.values()) - new,
        starts_with_layer=any(isinstance(op, Step) and op.is_layer for op in first),
    )


def _is_pool_alone(operations: Mapping[Node, Operation], nodes: Iterable[Node]) -> bool:
    """Whether the one layer of a row is an average pool: it needs no kernel of its own.

    A pool and a BatchNorm are less work than a convolution of that size. Branches of a sum are not.
    """
    found = [operations[node] for node in nodes if node in operations]
    layers = [one for one in found if isinstance(one, Step) and one.is_layer]
    branches = any(isinstance(one, Sum) and len(one.terms) > 1 for one in found)
    return len(layers) == 1 and layers[0].pools and not branches


def _chosen(candidates: Iterable[Region], reading: Readers) -> tuple[Region, ...]:
    taken: set[Node] = set()
    chosen = []
    for region in sorted(
        candidates,
        key=lambda r: (-r.saved, not r.starts_with_layer, -len(r.nodes), -reading.order[r.last]),
    ):
        if taken.isdisjoint(region.nodes):
            taken.update(region.nodes)
            chosen.append(region)
    return tuple(sorted(chosen, key=lambda region: reading.order[region.last]))


def _multiply_adds(view: View, node: Node, operation: Operation) -> int:
    places = _places(view, node)
    if isinstance(operation, Step) and operation.is_layer:
        if operation.map.up is not None:
            places = _places(view, operation.source)
        return operation.map.outputs * operation.map.columns * len(operation.map.taps) * places
    return view.channels(node) * places


def _places(view: View, node: Node) -> int:
    return math.prod(view.facts[node].shape[2:])

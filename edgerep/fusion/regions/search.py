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
from edgerep.fusion.algebra.linear_map import LinearMap, identity_map
from edgerep.fusion.algebra.sequence import after, inexact
from edgerep.fusion.algebra.sums import constant, total
from edgerep.fusion.operators.operation import Operation, Same, Step, Sum, View, source_of
from edgerep.fusion.operators.reading import read_operation
from edgerep.fusion.trace.guards import guards

Node = fx.Node

_MOST_BASES = 8  # of one tensor, nearest first; a longer chain of layers is no re-parameterisation
_MOST_TAPS = 1 << 12  # of one kernel; a 63x63 one


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


@dataclass(frozen=True, eq=False)
class _Form:
    map: LinearMap
    nodes: frozenset[Node]


def find_regions(view: View, graph: fx.Graph) -> Findings:
    """The regions of a graph that are worth folding, and why others are not."""
    written = frozenset().union(*view.writes.values())
    operations = {
        node: operation
        for node in graph.nodes
        if (operation := read_operation(view, node)) is not None
        and not view.writes.get(node)
        and not (isinstance(operation, Same) and _parts(view, node, operation.source, written))
    }
    reading = _Reading(view, graph, operations)
    refused: dict[Node, str] = {}
    forms: dict[Node, dict[Node, _Form]] = {}
    candidates: list[Region] = []
    for node, operation in operations.items():
        if isinstance(operation, Same):
            continue
        forms[node] = _forms(view, node, operation, reading, forms, refused)
        for base, form in forms[node].items():
            region = _candidate(view, operations, base, form, reading, refused)
            if region is not None:
                candidates.append(region)
    return Findings(_chosen(candidates, reading), operations, refused)


def _parts(view: View, node: Node, source: Node, written: Collection[Node]) -> bool:
    """Whether a node copies what it hands on, and the copy or the original is written to."""
    pair = {view.memory.get(node, node), view.memory.get(source, source)}
    return len(pair) == 2 and not pair.isdisjoint(written)


class _Reading:
    """Who reads what in a graph, nodes that hand their input on and guards left out."""

    def __init__(self, view: View, graph: fx.Graph, operations: Mapping[Node, Operation]) -> None:
        self.operations = operations
        self.order = {node: index for index, node in enumerate(graph.nodes)}
        watching = guards(graph)
        self.readers: dict[Node, set[Node]] = {}
        self._memory = view.memory
        self._changes: dict[Node, list[int]] = {}  # when each memory is written to
        for node in graph.nodes:
            for memory in view.writes.get(node, ()):
                self._changes.setdefault(memory, []).append(self.order[node])
            if node in watching or isinstance(operations.get(node), Same):
                continue
            for source in node.all_input_nodes:
                self.readers.setdefault(source_of(operations, source), set()).add(node)

    def is_closed(self, nodes: Iterable[Node], last: Node) -> bool:
        inside = set(nodes)
        return all(self.readers.get(node, set()) <= inside for node in inside if node is not last)

    def is_steady(self, base: Node, nodes: frozenset[Node]) -> bool:
        """Nothing changes the base in place between the region's first read of it and its last."""
        reads = [self.order[node] for node in self.readers.get(base, set()) & nodes]
        changes = self._changes.get(self._memory.get(base, base), [])
        return not any(min(reads) < change < max(reads) for change in changes)


def _forms(
    view: View,
    node: Node,
    operation: Step | Sum,
    reading: _Reading,
    forms: Mapping[Node, Mapping[Node, _Form]],
    refused: dict[Node, str],
) -> dict[Node, _Form]:
    if isinstance(operation, Step):
        found = _step_forms(node, operation, reading, forms, refused)
    else:
        found = _sum_forms(view, node, operation, reading, forms, refused)
    return dict(list(found.items())[:_MOST_BASES])


def _step_forms(
    node: Node,
    step: Step,
    reading: _Reading,
    forms: Mapping[Node, Mapping[Node, _Form]],
    refused: dict[Node, str],
) -> dict[Node, _Form]:
    source = source_of(reading.operations, step.source)
    found = {}
    if step.fill is None:
        found[source] = _Form(step.map, frozenset({node}))
    for base, inner in forms.get(source, {}).items():
        if why := inexact(step.map, inner.map, step.fill):
            refused.setdefault(node, why)
        elif len(step.map.taps) * len(inner.map.taps) > _MOST_TAPS:
            refused.setdefault(node, "the kernel of the whole would be too large")
        else:
            found[base] = _Form(after(step.map, inner.map), inner.nodes | {node})
    return found


def _sum_forms(
    view: View,
    node: Node,
    operation: Sum,
    reading: _Reading,
    forms: Mapping[Node, Mapping[Node, _Form]],
    refused: dict[Node, str],
) -> dict[Node, _Form]:
    found = {}
    terms = [(by, source_of(reading.operations, source)) for by, source in operation.terms]
    bases = [[source, *forms.get(source, {})] for _, source in terms]
    for base in bases[0]:
        if any(base not in others for others in bases):
            continue
        nodes = frozenset({node})
        parts = []
        for by, source in terms:
            if source is base:
                parts.append((by, identity_map(view.channels(base), view.axes(base))))
            else:
                parts.append((by, forms[source][base].map))
                nodes |= forms[source][base].nodes
        try:
            found[base] = _Form(total(parts, constant(operation.shift)), nodes)
        except ValueError as why:
            refused.setdefault(node, str(why))
    return found


def _candidate(
    view: View,
    operations: Mapping[Node, Operation],
    base: Node,
    form: _Form,
    reading: _Reading,
    refused: dict[Node, str],
) -> Region | None:
    nodes = tuple(sorted(form.nodes, key=reading.order.__getitem__))
    steps = [op for node in nodes if isinstance(op := operations[node], Step)]
    layers = sum(step.is_layer for step in steps)
    if len(nodes) < 2 or not layers:
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
    new = settled.weights * _places(view, nodes[-1])
    old = {node: _multiply_adds(view, node, operations[node]) for node in nodes}
    by_layers = sum(
        cost for node, cost in old.items()
        if isinstance(op := operations[node], Step) and op.is_layer
    )  # fmt: skip
    if new > by_layers:
        refused.setdefault(nodes[-1], "one convolution would take more multiply-adds")
        return None
    first = [operations[node] for node in reading.readers.get(base, set()) & form.nodes]
    return Region(
        base=base,
        nodes=nodes,
        settled=settled,
        batchnorms=sum(step.is_batchnorm for step in steps),
        layers=layers,
        saved=sum(old.values()) - new,
        starts_with_layer=any(isinstance(op, Step) and op.is_layer for op in first),
    )


def _chosen(candidates: Iterable[Region], reading: _Reading) -> tuple[Region, ...]:
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
        return operation.map.outputs * operation.map.columns * len(operation.map.taps) * places
    return view.channels(node) * places


def _places(view: View, node: Node) -> int:
    return math.prod(view.facts[node].shape[2:])

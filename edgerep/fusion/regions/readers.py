"""Who reads what in a graph, and when what was read is written to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import fx

from edgerep.fusion.operators.node_arguments import unrepeated
from edgerep.fusion.operators.operation import Node, Operation, Same, View, source_of
from edgerep.fusion.trace.guards import guards


class Readers:
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
            # What a constant is repeated like is read by nobody, but for its shape.
            repeats = unrepeated(view, node) is not node
            for source in node.all_input_nodes:
                readers = self.readers.setdefault(source_of(operations, source), set())
                readers.update(node.users if repeats else [node])

    def is_closed(self, nodes: Iterable[Node], last: Node) -> bool:
        """Whether nothing outside reads what the nodes give, that of the last apart."""
        inside = set(nodes)
        return all(self.readers.get(node, set()) <= inside for node in inside if node is not last)

    def is_steady(self, base: Node, nodes: frozenset[Node]) -> bool:
        """Nothing changes the base in place between the region's first read of it and its last."""
        reads = [self.order[node] for node in self.readers.get(base, set()) & nodes]
        changes = self._changes.get(self._memory.get(base, base), [])
        return not any(min(reads) < change < max(reads) for change in changes)

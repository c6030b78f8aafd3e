"""Cut the graph of one module out of the trace of the network around it.

What a module's code did is a stretch of the trace. Children that stay as they are become one call
each; those that hold nodes to be folded are written out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from edgerep.fusion.trace.calls import Call, Trace, UntraceableError, Way
from edgerep.fusion.trace.graph_run import attribute
from edgerep.torch_modules.arguments import Arguments
from edgerep.torch_modules.tree import part_at


@dataclass(frozen=True, eq=False)
class Extract:
    """A module's own graph.

    Attributes:
        graph: Its placeholders are the module's tensor arguments, in order.
        nodes: By a node of the trace, the same node here.
        given: What the placeholders are in the trace.
        handed: Where the code changes a list or dictionary that it is given, its graph gives the
            result and the arguments by name as they are left: which containers of the arguments
            the result holds, as in `Call`. None where it changes none.
    """

    graph: fx.Graph
    nodes: Mapping[fx.Node, fx.Node]
    given: Sequence[fx.Node]
    handed: tuple[tuple[Way, Way], ...] | None = None


def extract(
    trace: Trace,
    root: nn.Module,
    path: str,
    arguments: Arguments,
    opened: Callable[[str], bool],
) -> Extract:
    """The graph of a module in a trace; of the traced module itself where `path` is empty.

    Args:
        trace: The recording of the module around.
        root: The module around.
        path: Path of the module, within `root`.
        arguments: Of the module's first call.
        opened: Whether a sub-module, by its path in the trace, is written out.

    Raises:
        UntraceableError: The code uses values that it was not given, changes a list that it was
            given in several calls, or a child that stays gives something else than tensors in
            tuples, lists and dictionaries.
    """
    if path in trace.changing and trace.count(path) != 1:
        raise UntraceableError(
            "it is called several times, and changes a list or dictionary that it is given"
        )
    return _Extraction(trace, root, path, arguments, opened).run()


class _Extraction:
    def __init__(
        self,
        trace: Trace,
        root: nn.Module,
        path: str,
        arguments: Arguments,
        opened: Callable[[str], bool],
    ) -> None:
        self._root = root
        self._path = path
        self._opened = opened
        self._graph = fx.Graph()
        self._nodes: dict[fx.Node, fx.Node] = {}
        self._call = trace.first_call(path) if path else None
        self._trace = trace
        self._placed = self._given()
        for name, node in zip(arguments.names, self._placed, strict=True):
            placeholder = self._graph.placeholder(name)
            self._nodes.setdefault(node, placeholder)

    def run(self) -> Extract:
        skipped_to: fx.Node | None = None
        for node in self._stretch():
            if skipped_to is not None:
                skipped_to = None if node is skipped_to else skipped_to
                continue
            child = self._closed_child(node)
            if child is None:
                self._copy(node)
                continue
            self._collapse(child)
            skipped_to = child.last if child.last is not node else None
        left = None if self._call is None else self._call.left
        if self._call is None or left is None:
            self._graph.output(self._mapped(self._result()))
            return Extract(self._graph, self._nodes, self._placed)
        self._graph.output(self._mapped((self._result(), left)))
        return Extract(self._graph, self._nodes, self._placed, self._call.handed)

    def _given(self) -> list[fx.Node]:
        if self._call is None:
            return [node for node in self._trace.graph.nodes if node.op == "placeholder"]
        found: list[fx.Node] = []
        map_aggregate(
            (self._call.args, self._call.kwargs),
            lambda leaf: found.append(leaf.node) if isinstance(leaf, fx.Proxy) else None,
        )
        return found

    def _result(self) -> Any:
        if self._call is not None:
            return self._call.result
        return next(iter(reversed(self._trace.graph.nodes))).args[0]

    def _stretch(self) -> Iterator[fx.Node]:
        """The nodes that the module's call made."""
        if self._call is None:
            yield from (
                node for node in self._trace.graph.nodes if node.op not in ("placeholder", "output")
            )
            return
        node, last = self._call.first, self._call.last
        while node is not None:
            yield node
            if node is last:
                return
            node = node.next

    def _closed_child(self, node: fx.Node) -> Call | None:
        """The outermost call that begins with this node and is not written out."""
        for call in self._trace.beginning_with(node):
            inside = self._call is None or call.moment > self._call.moment
            if inside and not self._opened(call.path):
                return call
        return None

    def _collapse(self, call: Call) -> None:
        args, kwargs = (self._mapped(part) for part in (call.args, call.kwargs))
        node = self._graph.call_module(self._own(call.path), tuple(args), dict(kwargs))
        self._take_apart(call, call.result, node)

    def _take_apart(self, call: Call, result: Any, node: fx.Node) -> None:
        """Map each tensor that a child gave to its place in what the child gives."""
        if isinstance(result, fx.Proxy):
            if call.made(result.node):
                self._nodes[result.node] = node
        elif isinstance(result, dict):
            for key, part in result.items():
                self._item(call, key, part, node)
        elif isinstance(result, tuple | list):
            for index, part in enumerate(result):
                self._item(call, index, part, node)
        elif result is not None and not isinstance(result, int | float | str | bool):
            raise UntraceableError(
                f"{call.path} gives a {type(result).__name__}, which cannot be taken apart here"
            )

    def _item(self, call: Call, key: Any, part: Any, node: fx.Node) -> None:
        if isinstance(part, fx.Proxy | tuple | list | dict):
            self._take_apart(call, part, self._graph.call_function(operator.getitem, (node, key)))

    def _copy(self, node: fx.Node) -> None:
        copied = self._graph.node_copy(node, self._known)
        if node.op in ("call_module", "get_attr"):
            copied.target = self._own(str(node.target))
        self._nodes[node] = copied

    def _mapped(self, value: Any) -> Any:
        def known(leaf: Any) -> Any:
            if isinstance(leaf, fx.Proxy):
                return self._known(leaf.node)
            return self._known(leaf) if isinstance(leaf, fx.Node) else leaf

        return map_aggregate(value, known)

    def _known(self, node: fx.Node) -> fx.Node:
        if node in self._nodes:
            return self._nodes[node]
        if node.op == "get_attr":  # made once for the whole trace, perhaps in an earlier call
            self._nodes[node] = self._graph.get_attr(self._own(str(node.target)))
            return self._nodes[node]
        raise UntraceableError(f"its code uses {node.name}, which is not among its arguments")

    def _own(self, target: str) -> str:
        """The path of something of the module's own, within it."""
        if not self._path:
            return target
        if target.startswith(f"{self._path}."):
            return target[len(self._path) + 1 :]
        # What several modules share is recorded under the name that it has in the first of them.
        shared, module = attribute(self._root, target), part_at(self._root, self._path)
        for name, part in (*_modules(module), *_tensors(module)):
            if part is shared:
                return name
        raise UntraceableError(f"its code uses {target}, which is not its own")


def _modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield from module.named_modules(remove_duplicate=False)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)

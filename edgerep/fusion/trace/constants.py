"""Values in a graph that depend on no input, worked out in float64.

A kernel that is put together in place is such a value too, if whatever is written to it is
constant, and written before anything else reads it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from edgerep.fusion.trace.graph_run import Recorder, attribute, called, is_random
from edgerep.torch_modules.float64 import Float64Arithmetic, float64_device, widened

_NARROW = (torch.float16, torch.bfloat16, torch.float32)
_LIKE_ANOTHER = ("type_as", "to")  # methods that take a tensor's type and device, not its numbers
_CALLS = ("call_function", "call_method", "call_module")


class Constants:
    """Values that depend on no input, worked out when they are asked for, in float64.

    Args:
        module: Whose graph it is.
        graph: The graph.
        shown: What a run of it showed; None for a graph in which nothing is written in place.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph, shown: Recorder | None = None) -> None:
        self._module = module
        self._facts = shown.facts if shown else {}
        self._memory = shown.memory if shown else {}
        self._writes = shown.writes if shown else {}
        self._nodes = list(graph.nodes)
        self._known: dict[fx.Node, bool] = {}
        spoiled: frozenset[fx.Node] | None = frozenset()
        while spoiled is not None:  # what is made of a spoiled one may be written to another
            self._decide_all(spoiled)
            more = self._spoiled() if self._writes else spoiled
            spoiled = None if more <= spoiled else spoiled | more
        self._writers: dict[fx.Node, list[fx.Node]] = {}
        for node, memories in self._writes.items():
            for memory in memories:
                self._writers.setdefault(memory, []).append(node)
        self._values: dict[fx.Node, Any] = {}

    def holds(self, value: Any) -> bool:
        """Whether an argument of a node is constant."""
        return not isinstance(value, fx.Node) or self._known[value]

    def stored(self, value: Any) -> Any:
        """A parameter or buffer as it is stored; of anything else, its value in float64."""
        if isinstance(value, fx.Node) and value.op == "get_attr":
            return attribute(self._module, str(value.target))
        return self.value(value)

    def value(self, value: Any) -> Any:
        """The value of a constant argument, floating-point tensors in float64.

        Raises:
            Exception: Whatever the module's own code raises when it is run in float64.
        """
        if not isinstance(value, fx.Node):
            return value
        if value not in self._values:
            # In the order of the graph: what is written in place is written when it was.
            for node in sorted(self._needed_for(value)):
                self._values[node] = self._work_out(node)
        return self._values[value]

    def _needed_for(self, value: fx.Node) -> set[fx.Node]:
        needed, waiting = set[fx.Node](), [value]
        while waiting:
            node = waiting.pop()
            if node in needed or node in self._values:
                continue
            needed.add(node)
            if self._looked_up(node) is None:
                waiting += self._sources(node)
                waiting += self._writers.get(self._memory.get(node, node), ())
        return needed

    def _decide_all(self, spoiled: frozenset[fx.Node]) -> None:
        for node in self._nodes:
            self._known[node] = self._memory.get(node, node) not in spoiled and self._decide(node)

    def _decide(self, node: fx.Node) -> bool:
        if node.op == "get_attr" or self._looked_up(node) is not None:
            return True
        if node.op not in _CALLS or is_random(node):
            return False
        return all(self._known[source] for source in self._sources(node))

    def _spoiled(self) -> frozenset[fx.Node]:
        """Memories that are written to, and are not constant for every reader because of that."""
        order = {node: index for index, node in enumerate(self._nodes)}
        last: dict[fx.Node, int] = {}
        spoiled = set[fx.Node]()
        for node, memories in self._writes.items():
            for memory in memories:
                last[memory] = max(last.get(memory, 0), order[node])
                # What the module holds is another value in its next call.
                if memory.op == "get_attr" or not self._known[node]:
                    spoiled.add(memory)
        for node in self._nodes:
            if not self._known[node]:
                for source in node.all_input_nodes:
                    memory = self._memory.get(source, source)
                    if self._known[source] and order[node] < last.get(memory, -1):
                        spoiled.add(memory)
        return frozenset(spoiled)

    def _sources(self, node: fx.Node) -> list[fx.Node]:
        """What a node's value depends on."""
        if self._is_like_another(node):
            return node.all_input_nodes[:1]
        return node.all_input_nodes

    def _is_like_another(self, node: fx.Node) -> bool:
        """Whether a node is a tensor in the type and on the device of an activation."""
        return (
            node.op == "call_method"
            and node.target in _LIKE_ANOTHER
            and len(node.args) == 2
            and not node.kwargs
            and node.args[1] in self._facts
        )

    def _looked_up(self, node: fx.Node) -> tuple[Any] | None:
        """A tensor's type, device or number of channels: no code changes them; None for others."""
        if node.op not in ("call_function", "call_method") or not node.args:
            return None
        source: Any = node.args[0]
        rest = list(node.args[1:])
        name = getattr(node.target, "__name__", node.target)
        if name == "getattr" and source in self._facts and not self._known[source]:
            fact = self._facts[source]
            if rest == ["dtype"] and fact.dtype.is_floating_point:
                return (torch.float64,)
            if rest == ["device"]:
                return (float64_device(fact.device),)
        sized = source if name == "size" else self._sized(source) if name == "getitem" else None
        if rest == [1] and sized in self._facts and len(self._facts[sized].shape) > 1:
            return (self._facts[sized].shape[1],)
        return None

    def _sized(self, shape: Any) -> Any:
        """The tensor whose shape a node is; None if it is something else."""
        if not isinstance(shape, fx.Node):
            return None
        name = getattr(shape.target, "__name__", shape.target)
        is_shape = name == "size" if len(shape.args) == 1 else shape.args[1:] == ("shape",)
        return shape.args[0] if is_shape and name in ("size", "getattr") else None

    @torch.no_grad()
    def _work_out(self, node: fx.Node) -> Any:
        if (found := self._looked_up(node)) is not None:
            return found[0]
        if node.op == "get_attr":
            return _wide(attribute(self._module, str(node.target)))
        if self._is_like_another(node) or _is_widening(node):
            return self._values[node.all_input_nodes[0]]
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda one: self._values[one])
        args = tuple(torch.float64 if _is_narrow(one) else one for one in args)
        kwargs = {name: torch.float64 if _is_narrow(x) else x for name, x in kwargs.items()}
        if node.op != "call_module":
            return _wide(called(self._module, node, args, kwargs))
        with Float64Arithmetic():
            return _wide(called(self._module, node, args, kwargs))


def _is_widening(node: fx.Node) -> bool:
    """`x.float()` is a float32 network's way to say that it computes in its widest type."""
    return node.op == "call_method" and node.target == "float"


def _is_narrow(value: Any) -> bool:
    return isinstance(value, torch.dtype) and value in _NARROW


def _wide(value: Any) -> Any:
    return tree_map_only(Tensor, lambda t: widened(t) if t.is_floating_point() else t, value)

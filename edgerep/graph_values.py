"""What is known of the values in a traced graph: constants, and shapes and types from one run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from edgerep.call_arguments import tensors_in
from edgerep.linear_map import widened
from edgerep.recall import Recall

# Their value is another one at every call.
_RANDOM = ("rand", "bernoulli", "normal", "multinomial", "poisson", "dropout", "empty")


@dataclass(frozen=True, slots=True)
class Fact:
    """What a run showed of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Recorder(fx.Interpreter):
    """Runs a graph and keeps what it shows of every tensor in it.

    Args:
        module: That the graph was recorded of.
        graph: To run.
        recall: What was convolved before.

    Attributes:
        facts: Shape and type.
        memory: The node that made the memory which a tensor shows: another one for a view.
        writes: The memories that a node writes to, each by the node that made it, whatever the
            spelling: torch counts the writes to a tensor.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph, recall: Recall) -> None:
        super().__init__(module, graph=graph)
        self._recall = recall
        self.facts: dict[fx.Node, Fact] = {}
        self.memory: dict[fx.Node, fx.Node] = {}
        self.writes: dict[fx.Node, frozenset[fx.Node]] = {}
        self._makers: dict[fx.Node, dict[int, fx.Node]] = {}  # of each storage in a node's value

    def run_node(self, n: fx.Node) -> Any:
        known: dict[int, fx.Node] = {}
        for source in n.all_input_nodes:
            known |= self._makers[source]
        given = [t for source in n.all_input_nodes for t in tensors_in(self.env[source])]
        before = [_version(tensor) for tensor in given]
        with self._recall:
            value = super().run_node(n)
        written = [t for t, version in zip(given, before, strict=True) if _version(t) != version]
        if written:
            self.writes[n] = frozenset(known.get(_storage(tensor), n) for tensor in written)
        storages = [_storage(tensor) for tensor in tensors_in(value)]
        self._makers[n] = {storage: known.get(storage, n) for storage in storages if storage}
        if isinstance(value, Tensor):
            self.facts[n] = Fact(tuple(value.shape), value.dtype, value.device)
            self.memory[n] = self._makers[n].get(storages[0], n)
        return value


def _storage(tensor: Tensor) -> int:
    """What tells memories that are in use apart; 0 where there is none to be told apart."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # sparse tensors have several
        return 0


def _version(tensor: Tensor) -> int:
    """How often a tensor or a view of it was written to."""
    return 0 if tensor.is_inference() else tensor._version


class Constants:
    """Values that depend on no input, worked out when they are asked for, in float64."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        self._module = module
        self._known: dict[fx.Node, bool] = {}
        for node in graph.nodes:
            self._known[node] = self._decide(node)
        self._values: dict[fx.Node, Any] = {}

    def holds(self, value: Any) -> bool:
        """Whether an argument of a node is constant."""
        return not isinstance(value, fx.Node) or self._known[value]

    def stored(self, value: Any) -> Any:
        """A parameter or buffer as it is stored; of anything else, its value in float64."""
        if isinstance(value, fx.Node) and value.op == "get_attr":
            return _attribute(self._module, str(value.target))
        return self.value(value)

    def value(self, value: Any) -> Any:
        """The value of a constant argument, floating-point tensors in float64.

        Raises:
            Exception: Whatever the module's own code raises when it is run in float64.
        """
        if not isinstance(value, fx.Node):
            return value
        if value not in self._values:
            self._values[value] = self._work_out(value)
        return self._values[value]

    def _decide(self, node: fx.Node) -> bool:
        if node.op == "get_attr":
            return True
        if node.op not in ("call_function", "call_method", "call_module"):
            return False
        name = getattr(node.target, "__name__", str(node.target))
        if any(word in name for word in _RANDOM):
            return False
        return all(self._known[source] for source in node.all_input_nodes)

    @torch.no_grad()
    def _work_out(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return _wide(_attribute(self._module, str(node.target)))
        args = fx.map_arg(node.args, self.value)
        kwargs = dict(fx.map_arg(node.kwargs, self.value))
        if kwargs.get("dtype") in (torch.float16, torch.bfloat16, torch.float32):
            kwargs["dtype"] = torch.float64
        target: Any = node.target
        if node.op == "call_function":
            return _wide(target(*args, **kwargs))
        if node.op == "call_method":
            return _wide(getattr(args[0], target)(*args[1:], **kwargs))
        from edgerep.float64 import Float64Arithmetic

        with Float64Arithmetic():
            return _wide(self._module.get_submodule(target)(*args, **kwargs))


def _attribute(module: nn.Module, path: str) -> Any:
    return operator.attrgetter(path)(module)


def _wide(value: Any) -> Any:
    return tree_map_only(Tensor, lambda t: widened(t) if t.is_floating_point() else t, value)


def guards(graph: fx.Graph) -> frozenset[fx.Node]:
    """Nodes that only look at shapes and types to assert something about them.

    They read a value without using it: a value that only they read besides the region that it
    belongs to may go.
    """
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if _asserts(node) or (
            _looks(node) and node.users and all(user in found for user in node.users)
        ):
            found.add(node)
    return frozenset(found)


def _asserts(node: fx.Node) -> bool:
    name = getattr(node.target, "__name__", "")
    return node.op == "call_function" and (
        node.target is torch._assert or "_assert" in name or name == "_guards_fn"
    )


_LOOKING: frozenset[Callable[..., Any]] = frozenset(
    {operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.mod,
     operator.and_, operator.or_, operator.not_, operator.getitem, getattr}
)  # fmt: skip
_LOOKING_METHODS = frozenset({"dim", "size", "is_floating_point", "numel", "ndimension"})
_LOOKING_ATTRIBUTES = frozenset({"ndim", "shape", "dtype", "device", "requires_grad"})


def _looks(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _LOOKING_METHODS
    if node.op != "call_function" or node.target not in _LOOKING:
        return False
    return node.target is not getattr or node.args[1] in _LOOKING_ATTRIBUTES


def named_arguments(
    node: fx.Node, names: Sequence[str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """A call's arguments by name.

    Raises:
        ValueError: There are others than `names`.
    """
    given = {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}
    if len(node.args) > len(names) or set(given) - set(names):
        raise ValueError(f"{node.name} has arguments that are not known here")
    return given

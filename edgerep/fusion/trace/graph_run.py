"""Run a traced graph, and keep what the run shows of the values in it."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgerep.torch_modules.arguments import tensors_in, version_of
from edgerep.torch_modules.convolution_cache import CONVOLUTIONS, ConvolutionCache
from edgerep.torch_modules.layer_kinds import plain_kind
from edgerep.torch_modules.tree import part_at

# What is in the names of functions whose value is another one at every call.
_RANDOM = ("rand", "bernoulli", "normal", "multinomial", "poisson", "dropout", "empty")


@dataclass(frozen=True, slots=True)
class Fact:
    """What a run showed of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Recorder:
    """Runs a graph and keeps what it shows of every tensor in it.

    Args:
        module: The module that the graph was recorded of.
        graph: The graph to run.
        cache: What was convolved before, by the module or by another recording of it.

    Attributes:
        facts: Shape, type and device of every tensor, by its node.
        memory: The node that made the memory which a tensor shows: another one for a view.
        writes: The memories that a node writes to, each by the node that made it, whatever the
            spelling: torch counts the writes to a tensor.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph, cache: ConvolutionCache) -> None:
        self.facts: dict[fx.Node, Fact] = {}
        self.memory: dict[fx.Node, fx.Node] = {}
        self.writes: dict[fx.Node, frozenset[fx.Node]] = {}
        self._module = module
        self._graph = graph
        self._cache = cache
        self._values: dict[fx.Node, Any] = {}
        self._makers: dict[fx.Node, dict[int, fx.Node]] = {}  # of each storage in a node's value
        self._held: dict[int, fx.Node] = {}  # what the module holds may be asked for twice

    def run(self, *inputs: Any) -> Any:
        """What the graph gives for values of its placeholders, in order.

        Raises:
            ValueError: The graph has no output.
            Exception: Whatever the module's own code raises.
        """
        waiting = iter(inputs)
        readers_left = {node: len(node.users) for node in self._graph.nodes}
        for node in self._graph.nodes:
            if node.op == "placeholder":
                self._keep(node, next(waiting), {})
            elif node.op == "output":
                return fx.map_arg(node.args[0], self._values.__getitem__)
            else:
                self._step(node)
            for source in node.all_input_nodes:  # a value that nobody reads any more is let go
                readers_left[source] -= 1
                if not readers_left[source]:
                    del self._values[source]
        raise ValueError("a graph without an output")

    def _step(self, node: fx.Node) -> None:
        known: dict[int, fx.Node] = {}
        given: list[Tensor] = []
        for source in node.all_input_nodes:
            known |= self._makers[source]
            given += tensors_in(self._values[source])
        before = [version_of(tensor) for tensor in given]
        if node.op == "get_attr":
            value, known = attribute(self._module, str(node.target)), self._held
        else:
            args, kwargs = fx.map_arg((node.args, node.kwargs), self._values.__getitem__)
            with self._cache if _may_convolve(self._module, node) else contextlib.nullcontext():
                value = called(self._module, node, args, kwargs)
        written = [t for t, version in zip(given, before, strict=True) if version_of(t) != version]
        if node.op == "get_attr":
            self._held |= {
                _storage(tensor): known.get(_storage(tensor), node) for tensor in tensors_in(value)
            }
        if written:
            self.writes[node] = frozenset(known.get(_storage(tensor), node) for tensor in written)
        self._keep(node, value, known)

    def _keep(self, node: fx.Node, value: Any, known: Mapping[int, fx.Node]) -> None:
        self._values[node] = value
        storages = [_storage(tensor) for tensor in tensors_in(value)]
        self._makers[node] = {storage: known.get(storage, node) for storage in storages if storage}
        if isinstance(value, Tensor):
            self.facts[node] = Fact(tuple(value.shape), value.dtype, value.device)
            self.memory[node] = self._makers[node].get(storages[0], node)


def _may_convolve(module: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        kind = plain_kind(part_at(module, str(node.target)))
        return kind in (None, "convolution", "transposed", "linear")
    return node.op == "call_function" and node.target in CONVOLUTIONS


def called(module: nn.Module, node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a node's function, method or sub-module makes of some arguments."""
    target: Any = node.target
    if node.op == "call_module":
        return part_at(module, target)(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    return target(*args, **kwargs)


def is_random(node: fx.Node) -> bool:
    """Whether a node's value may be another one at every call, whatever it is given."""
    name = getattr(node.target, "__name__", str(node.target))
    return any(word in name for word in _RANDOM)


def attribute(module: nn.Module, path: str) -> Any:
    """Something that a module or one of its sub-modules holds."""
    return operator.attrgetter(path)(module)


def _storage(tensor: Tensor) -> int:
    """What tells memories that are in use apart; 0 where there is none to be told apart."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # sparse tensors have several
        return 0

"""Code that merges its kernels into the parameters of a layer whenever it runs, and then uses it.

SPAN's `Conv3XC` assigns to `conv.weight.data` so. What is assigned depends on no input: from then
on the parameter is that value, and the layer is part of the code that assigned it.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from edgerep.fusion.trace.calls import UntraceableError
from edgerep.fusion.trace.decisions import DecidingTracer


class AssigningTracer(DecidingTracer):
    """A tracer whose code may give parameters other numbers.

    Attributes:
        names: The name of each of the module's parameters and buffers, by its identity.
        assigned: By name of a parameter, what code made of it.
    """

    names: dict[int, str]

    def __init__(self) -> None:
        super().__init__()
        self.assigned: dict[str, fx.Proxy] = {}

    def assign(self, node: fx.Node, value: Any) -> None:
        """Note that code assigns to a tensor's `data`.

        Raises:
            UntraceableError: The tensor is not the module's, or the value depends on an input.
        """
        name = _held(node)
        if name is None or not self._is_made_of_constants(value):
            raise UntraceableError("it assigns to the data of a tensor what depends on its input")
        self.assigned[name] = value

    def assigned_by_copy(self, node: fx.Node, value: Any) -> bool:
        """Whether code that writes a value over all of a tensor assigns to a parameter so."""
        name = _held(node)
        if name is None or not self._is_made_of_constants(value):
            return False
        old, new = self.constant_shape(node), self.constant_shape(value.node)
        if old is None or new is None or (old.shape, old.dtype) != (new.shape, new.dtype):
            return False
        # What is written later into the memory that it was copied from does not reach it.
        self.assigned[name] = value.clone()
        return True

    def holds_assigned(self, m: nn.Module) -> bool:
        """Whether a layer computes with what code around it gave it."""
        if not self.assigned:
            return False
        return any(self.names.get(id(held)) in self.assigned for held in m._parameters.values())

    def _is_made_of_constants(self, value: Any) -> bool:
        return isinstance(value, fx.Proxy) and self.is_constant(value.node)


def _held(node: fx.Node) -> str | None:
    """The name of the parameter whose memory a node is, perhaps by way of `data` or `detach`."""
    while node.op != "get_attr":
        is_data = node.target is getattr and node.args[1:] == ("data",)
        is_apart = node.op == "call_method" and node.target == "detach"
        if not (is_data or is_apart):
            return None
        node = node.all_input_nodes[0]
    return str(node.target)

"""Values in a graph that depend on no input, worked out in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from edgerep.fusion.trace.graph_run import attribute, called
from edgerep.torch_modules.float64 import Float64Arithmetic, widened

# Their value is another one at every call.
_RANDOM = ("rand", "bernoulli", "normal", "multinomial", "poisson", "dropout", "empty")


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
            return _wide(attribute(self._module, str(node.target)))
        args = fx.map_arg(node.args, self.value)
        kwargs = dict(fx.map_arg(node.kwargs, self.value))
        if kwargs.get("dtype") in (torch.float16, torch.bfloat16, torch.float32):
            kwargs["dtype"] = torch.float64
        if node.op != "call_module":
            return _wide(called(self._module, node, args, kwargs))
        with Float64Arithmetic():
            return _wide(called(self._module, node, args, kwargs))


def _wide(value: Any) -> Any:
    return tree_map_only(Tensor, lambda t: widened(t) if t.is_floating_point() else t, value)

"""How many axes the values of a graph have while it is still being recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from edgerep.fusion.trace.graph_run import attribute, called
from edgerep.torch_modules.call_mode import CallMode


class Ranks:
    """Works the values out that it is asked for, without their numbers.

    Args:
        root: The module that is being recorded.
        samples: What its placeholders were in one call.
    """

    def __init__(self, root: nn.Module, samples: Mapping[fx.Node, Any]) -> None:
        self._root = root
        self._samples = samples
        self._known: dict[fx.Node, Any] = {}

    def of(self, node: fx.Node) -> int | None:
        """The number of a value's axes; None if it is no tensor, or its code needs numbers."""
        needed, waiting = set[fx.Node](), [node]
        while waiting:
            one = waiting.pop()
            if one not in self._known and one not in needed:
                needed.add(one)
                waiting += one.all_input_nodes
        try:
            for one in sorted(needed):
                self._known[one] = self._value(one)
        except Exception:  # a user's own code, run without numbers, may raise anything
            return None
        value = self._known[node]
        return value.ndim if isinstance(value, Tensor) else None

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return _without_numbers(self._samples[node])
        if node.op == "get_attr":
            return _without_numbers(attribute(self._root, str(node.target)))
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._known.__getitem__)
        with _WithoutNumbers():
            return called(self._root, node, args, kwargs)


class _WithoutNumbers(CallMode):
    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        return func(*_without_numbers(args), **_without_numbers(dict(kwargs)))


def _without_numbers(value: Any) -> Any:
    return tree_map_only(Tensor, lambda t: t if t.is_meta else t.detach().to("meta"), value)

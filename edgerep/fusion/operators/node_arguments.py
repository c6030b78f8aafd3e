"""The arguments of a node by name, and those of them that are constant tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from edgerep.fusion.operators.operation import Node, View

_REPEATING = frozenset({"expand", "expand_as", "broadcast_to"})


def named_arguments(
    node: fx.Node, names: Sequence[str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """A call's arguments by name.

    Args:
        node: The call.
        names: Of the parameters, in the order of the function's signature.
        defaults: Of those parameters that have one.

    Raises:
        ValueError: There are others than `names`.
    """
    given = {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}
    if len(node.args) > len(names) or set(given) - set(names):
        raise ValueError(f"{node.name} has arguments that are not known here")
    return given


def weights_among(view: View, given: Mapping[str, Any], *names: str) -> list[Tensor | None]:
    """Arguments that are parameters, buffers or other constants, as they are stored.

    Args:
        view: Of the graph.
        given: A call's arguments by name.
        names: Of the wanted ones; one that is None in the call is None here.

    Raises:
        ValueError: One of them depends on the input, or is no tensor.
    """
    found = [_stored(view, given[name]) for name in names]
    for name, tensor in zip(names, found, strict=True):
        if tensor is None and given[name] is not None:
            raise ValueError(f"{name} is no constant tensor")
    return found


def unrepeated(view: View, value: Any) -> Any:
    """The constant that a value repeats, how often depending on a size; other values as they are.

    `constant.expand_as(x)` is broadcast over x all the same without it.
    """
    found = value
    while isinstance(found, fx.Node) and not view.constants.holds(found):
        name = getattr(found.target, "__name__", found.target)
        if name not in _REPEATING or not found.args:
            return value
        found = found.args[0]
    return found


def _stored(view: View, value: Node | None) -> Tensor | None:
    if value is None or not view.constants.holds(value):
        return None
    found = view.constants.stored(value)
    return found if isinstance(found, Tensor) else None

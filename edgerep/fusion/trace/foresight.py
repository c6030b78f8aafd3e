"""What code will be told while it is still being recorded: shapes at several sizes, constants.

A network may ask for the shape of a tensor and decide by the answer. A recording follows one way
only, so the answer is worked out, without numbers, at the recorded size and at others: what is the
same at all of them may be decided by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from edgerep.fusion.trace.calls import UntraceableError
from edgerep.fusion.trace.graph_run import attribute, called
from edgerep.torch_modules.call_mode import CallMode

# Changes of a side that code may decide by: odd, twice, and beyond any threshold.
_SIDES: tuple[Callable[[int], int], ...] = (
    lambda side: side,
    lambda side: side + 1,
    lambda side: 2 * side,
    lambda side: side + 1024,
)
_BATCHES = (0, 1, 1, 5)  # images more, with each of these


@dataclass(frozen=True, slots=True)
class _Unknown:
    """In place of a value that needs numbers, or that code refuses to work out at some size."""


UNKNOWN = _Unknown()


class Foresight:
    """Works out what the nodes of an unfinished graph will give, at several sizes.

    Args:
        root: The module that is being recorded.
        samples: What its placeholders were in one call.
    """

    def __init__(self, root: nn.Module, samples: Mapping[fx.Node, Any]) -> None:
        self._sizes = [_AtOneSize(root, given) for given in _varied(samples)]

    def value(self, node: fx.Node) -> Any:
        """A value at the recorded size, tensors without numbers; `UNKNOWN` if it needs those."""
        return self._sizes[0].value(node)

    def rank(self, node: fx.Node) -> int | None:
        """The number of a tensor's axes; None if it is no tensor, or its code needs numbers."""
        value = self.value(node)
        return value.ndim if isinstance(value, Tensor) else None

    def fixed(self, node: fx.Node, asked: Callable[[Any], Any]) -> Any:
        """What `asked` makes of a value, if that is the same at every size.

        Raises:
            UntraceableError: It is not, or it needs the numbers of a tensor.
        """
        first, *others = (_asked(size.value(node), asked) for size in self._sizes)
        if first is UNKNOWN:
            raise UntraceableError("it decides by the numbers of a tensor")
        if any(other is not UNKNOWN and other != first for other in others):
            raise UntraceableError("it decides by the size of its input")
        return first

    def at_first(self, node: fx.Node, asked: Callable[[Any], Any]) -> Any:
        """What `asked` makes of a value at the recorded size; `UNKNOWN` if it needs numbers."""
        return _asked(self._sizes[0].value(node), asked)


def _asked(value: Any, asked: Callable[[Any], Any]) -> Any:
    if value is UNKNOWN:
        return UNKNOWN
    try:
        return asked(value)
    except Exception:  # a tensor without numbers has no truth; a number has no length
        return UNKNOWN


def _varied(samples: Mapping[fx.Node, Any]) -> Iterator[dict[fx.Node, Any]]:
    for change, more in zip(_SIDES, _BATCHES, strict=True):
        yield {node: _resized(value, change, more) for node, value in samples.items()}


def _resized(value: Any, change: Callable[[int], int], more: int) -> Any:
    if not isinstance(value, Tensor):
        return value
    if not value.ndim:
        return _without_numbers(value)
    batch, *rest = value.shape
    sides = rest[:1] + [change(side) for side in rest[1:]]
    return torch.empty((batch + more, *sides), dtype=value.dtype, device="meta")


class _AtOneSize:
    def __init__(self, root: nn.Module, samples: Mapping[fx.Node, Any]) -> None:
        self._root = root
        self._samples = samples
        self._known: dict[fx.Node, Any] = {}

    def value(self, node: fx.Node) -> Any:
        needed, waiting = set[fx.Node](), [node]
        while waiting:
            one = waiting.pop()
            if one not in self._known and one not in needed:
                needed.add(one)
                waiting += one.all_input_nodes
        for one in sorted(needed):
            self._known[one] = self._worked_out(one)
        return self._known[node]

    def _worked_out(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return _without_numbers(self._samples[node])
        if node.op == "get_attr":
            return _without_numbers(attribute(self._root, str(node.target)))
        if any(self._known[source] is UNKNOWN for source in node.all_input_nodes):
            return UNKNOWN
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._known.__getitem__)
        try:
            with _WithoutNumbers():
                return called(self._root, node, args, kwargs)
        except Exception:  # a user's own code, run without numbers, may raise anything
            return UNKNOWN


class _WithoutNumbers(CallMode):
    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        options = _without_numbers(dict(kwargs))
        if "device" in options:  # a tensor that code makes on the device of another
            options["device"] = "meta"
        return func(*_without_numbers(args), **options)


def _without_numbers(value: Any) -> Any:
    return tree_map_only(Tensor, lambda t: t if t.is_meta else t.detach().to("meta"), value)


def number_of(root: nn.Module, node: fx.Node, independent: Collection[fx.Node]) -> Any:
    """A value that depends on no input, with its numbers, in the network's own type.

    Args:
        root: The module that is being recorded.
        node: Of the graph so far; what was written to anything on the way there has been written.
        independent: The nodes that depend on no input.

    Raises:
        UntraceableError: What depends on the input is written to something on the way.
    """
    needed, waiting, is_written = set[fx.Node](), [node], False
    while waiting:
        one = waiting.pop()
        if one in needed:
            continue
        if one not in independent:
            raise UntraceableError("it decides by the numbers of a tensor")
        needed.add(one)
        writers = [user for user in one.users if _may_write(user)]
        is_written = is_written or bool(writers)
        waiting += [*one.all_input_nodes, *writers]
    known: dict[fx.Node, Any] = {}
    for one in sorted(needed):
        if one.op == "get_attr":
            held = attribute(root, str(one.target))
            known[one] = held.clone() if is_written and isinstance(held, Tensor) else held
        else:
            args, kwargs = fx.map_arg((one.args, one.kwargs), known.__getitem__)
            known[one] = called(root, one, args, kwargs)
    return known[node]


def _may_write(node: fx.Node) -> bool:
    name = getattr(node.target, "__name__", str(node.target))
    return name == "setitem" or "out" in node.kwargs or name.rstrip("_") != name

"""What a recording of a module is: its graph, and which call of which module made each node."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import fx

from edgerep.torch_modules.arguments import Arguments

# Where a node was made: path of the innermost module, which call of that module, which node there.
Place: TypeAlias = tuple[str, int, int]

# Indices and keys, from a container to what lies in it or in containers in it.
Way: TypeAlias = tuple[Any, ...]

_PLACE, _LINE = "edgerep_place", "edgerep_line"


class UntraceableError(Exception):
    """A module's own code cannot be recorded; the message says why."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module that was recorded from the inside.

    Attributes:
        path: Of the module.
        args: Positional arguments, proxies where tensors were.
        kwargs: Keyword arguments, proxies where tensors were.
        result: What the module gave, proxies where tensors were.
        moment: In the order of all calls.
        first: The first node that the call made; None if it made none.
        last: The last node that it made; None if it made none.
        left: The arguments by name as the call left them, where it changed a list or dictionary
            that it was given; None where it changed none.
        handed: Which of those containers the result holds: the way to each in the result, and the
            way to it among the arguments by name.
    """

    path: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    moment: int
    first: fx.Node | None
    last: fx.Node | None
    left: dict[str, Any] | None = None
    handed: tuple[tuple[Way, Way], ...] = ()

    def made(self, node: fx.Node) -> bool:
        """Whether a node was made by this call."""
        return (
            self.first is not None
            and self.last is not None
            and (not node < self.first and not self.last < node)
        )


@dataclass(frozen=True, eq=False)
class Trace:
    """A module's graph, and the calls of its sub-modules.

    Attributes:
        graph: Its placeholders are the module's tensor arguments, in order.
        arguments: What the module was called with.
        calls: The calls of every module recorded from the inside, the root apart.
        opaque: Paths of sub-modules that had to become leaves, and why.
        changing: Paths of sub-modules that change a list or dictionary that they are given.
        hooked: Paths of sub-modules whose hooks are part of what they compute: the recording of
            such a module has what they do in it.
        by_rank: Paths of modules whose code asked how many axes a tensor has, and may have decided
            by it; the empty path for the module itself.
        moments: When each sub-module was called, in the order of all calls.
    """

    graph: fx.Graph
    arguments: Arguments
    calls: tuple[Call, ...]
    opaque: Mapping[str, str]
    changing: Collection[str]
    hooked: Collection[str]
    by_rank: Collection[str]
    moments: Mapping[str, Sequence[int]]

    @functools.cached_property
    def _beginnings(self) -> Mapping[fx.Node, Sequence[Call]]:
        found: dict[fx.Node, list[Call]] = {}
        for call in sorted(self.calls, key=lambda call: call.moment):
            if call.first is not None:
                found.setdefault(call.first, []).append(call)
        return found

    @functools.cached_property
    def held(self) -> Sequence[fx.Node]:
        """The nodes that are tensors which the module holds."""
        return [node for node in self.graph.nodes if node.op == "get_attr"]

    @functools.cached_property
    def _first_calls(self) -> Mapping[str, Call]:
        return {call.path: call for call in sorted(self.calls, key=lambda c: -c.moment)}

    def beginning_with(self, node: fx.Node) -> Sequence[Call]:
        """The calls whose first node this is, outermost first."""
        return self._beginnings.get(node, ())

    def first_call(self, path: str) -> Call:
        """The first call of a sub-module that was recorded from the inside.

        Raises:
            KeyError: It was not recorded from the inside.
        """
        return self._first_calls[path]

    def count(self, path: str) -> int:
        """How often a sub-module was called."""
        return len(self.moments.get(path, ()))


def set_place(node: fx.Node, place: Place) -> None:
    """Note where a call was made."""
    node.meta[_PLACE] = place


def place_of(node: fx.Node) -> Place | None:
    """Where a call was made; None for a placeholder, an attribute or the output."""
    found: Place | None = node.meta.get(_PLACE)
    return found


def set_line(node: fx.Node, line: str | None) -> None:
    """Note which line of the user's code made a call, "file:line"."""
    node.meta[_LINE] = line


def line_of(node: fx.Node) -> str | None:
    """The line of the user's code that made a call; None where there is none."""
    found: str | None = node.meta.get(_LINE)
    return found

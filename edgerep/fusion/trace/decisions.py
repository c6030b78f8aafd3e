"""What code is told that decides by a tensor while it is recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx

from edgerep.fusion.trace.calls import UntraceableError
from edgerep.fusion.trace.foresight import Foresight, number_of
from edgerep.fusion.trace.guards import assert_decision
from edgerep.fusion.trace.source_lines import line_of_caller


class DecidingTracer(fx.Tracer):
    """A tracer whose code may decide by what is known of a value.

    Attributes:
        running: Code is run for what it would give, and not to be recorded.
        independent: The nodes that depend on no input.
        foresight: What the nodes so far will give.
    """

    foresight: Foresight

    def __init__(self) -> None:
        super().__init__()
        self.running = False
        self.independent: set[fx.Node] = set()

    def rank_of(self, node: fx.Node) -> int | None:
        """How many axes a value has, for code that may decide by it; None if that is not known."""
        if not self.is_constant(node):
            self.decided_by_rank()
        with self._foreseeing():
            return self.foresight.rank(node)

    def decided_by_rank(self) -> None:
        """Note that the code that runs now knows how many axes a tensor has."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _foreseeing(self) -> Iterator[None]:
        self.running = True
        try:
            yield
        finally:
            self.running = False

    def is_constant(self, node: fx.Node) -> bool:
        """Whether a value depends on no input."""
        return node in self.independent

    def constant(self, node: fx.Node) -> Any:
        """A value that depends on no input, with its numbers."""
        with self._foreseeing(), torch.no_grad():
            return number_of(self.root, node, self.independent)

    def constant_shape(self, node: fx.Node) -> Tensor | None:
        """A tensor that depends on no input, without its numbers; None if it depends on one."""
        if not self.is_constant(node):
            return None
        with self._foreseeing():
            value = self.foresight.value(node)
        return value if isinstance(value, Tensor) else None

    def to_bool(self, obj: fx.Proxy) -> bool:
        return self.decided(obj, asserted=False)

    def decided(self, proxy: fx.Proxy, *, asserted: bool) -> bool:
        """The truth of a value that code decides by; a guard is recorded.

        Raises:
            UntraceableError: It is not known, or another one at other sizes.
        """
        if self.is_constant(proxy.node):
            return bool(self.constant(proxy.node))
        with self._foreseeing():
            try:
                outcome = bool(self.foresight.fixed(proxy.node, bool))
            except UntraceableError:  # code that refuses other sizes may do so
                if not asserted or self.foresight.at_first(proxy.node, bool) is not True:
                    raise
                outcome = True
        self._guard(proxy.node, outcome)
        return outcome

    def number(self, proxy: fx.Proxy, kind: Callable[[Any], Any]) -> Any:
        """A whole or broken number that code makes of a value, or its length; it is guarded.

        Raises:
            UntraceableError: It is not known, or another one at other sizes.
        """
        node = proxy.node
        if self.is_constant(node):
            return kind(self.constant(node))
        with self._foreseeing():
            number = self.foresight.fixed(node, kind)
            is_rank = kind is len and isinstance(self.foresight.value(node), torch.Size)
        if is_rank:
            self.decided_by_rank()
        else:
            self._guard(self.create_node("call_function", kind, (node,), {}), number)
        return number

    def iter(self, obj: Any) -> Iterator[Any]:
        with self._foreseeing():
            value = None if self.is_constant(obj.node) else self.foresight.value(obj.node)
        if isinstance(value, dict | str):
            raise UntraceableError("it loops over what a module gives by name")
        return iter([obj[index] for index in range(self.number(obj, len))])

    def _guard(self, node: fx.Node, outcome: Any) -> None:
        self.create_node(
            "call_function", assert_decision, (node, outcome, line_of_caller() or ""), {}
        )

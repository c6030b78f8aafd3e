"""Nodes that cannot be written as Core ML, told to the user: one line for each reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgerep.errors import CoremlError

_MOST_LINES = 8  # of reasons in one message
_TIMES = "\N{MULTIPLICATION SIGN}"
_LONGEST_REASON = 160  # characters; coremltools can go on for pages


@dataclass(frozen=True)
class Refusal:
    """A node that is refused.

    Attributes:
        operator: The ONNX operator.
        name: The node's name, or its first output's.
        source: The line of the user's code that it comes from, "file.py:88"; "" if unknown.
        reason: What of it Core ML cannot do; "" if the operator is not known at all.
    """

    operator: str
    name: str
    source: str
    reason: str = ""


class NodeRefusedError(CoremlError):
    """One node is refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(sentence(refusal, 1))
        self.refusal = refusal


def grouped(refusals: Iterable[Refusal]) -> list[tuple[Refusal, int]]:
    """The first refusal of each operator and reason, in order, and how many nodes share them."""
    first: dict[tuple[str, str], Refusal] = {}
    counts: dict[tuple[str, str], int] = {}
    for refusal in refusals:
        key = (refusal.operator, refusal.reason)
        first.setdefault(key, refusal)
        counts[key] = counts.get(key, 0) + 1
    return [(refusal, counts[key]) for key, refusal in first.items()]


def sentence(refusal: Refusal, count: int) -> str:
    reason = " ".join(refusal.reason.split())
    if len(reason) > _LONGEST_REASON:
        reason = reason[: _LONGEST_REASON - 3] + "..."
    return (
        f"node `{refusal.name}` ({_operator(refusal, count)}) cannot be expressed exactly in "
        f"Core ML: {reason}"
    )


def no_way_to_write(refusals: Iterable[Refusal]) -> CoremlError:
    """The error for operators that are not in the table."""
    lines = [f"{_operator(refusal, n)}: {refusal.name}" for refusal, n in grouped(refusals)]
    return CoremlError(
        "the graph has operators that edgerep cannot write as a Core ML program:"
        + "".join(f"\n  {line}" for line in _shortened(lines))
        + "\ntake them out of the network; docs/coreml.md lists what can be written"
    )


def not_exact(refusals: Iterable[Refusal]) -> CoremlError:
    """The error for nodes whose operator is known, and which mean what Core ML cannot do."""
    lines = [sentence(refusal, count) for refusal, count in grouped(refusals)]
    return CoremlError("\n".join(_shortened(lines)))


def _operator(refusal: Refusal, count: int) -> str:
    """The operator, how often it is refused so, and the line of the first."""
    times = f" {_TIMES}{count}" if count > 1 else ""
    place = f", {'the first ' if count > 1 else ''}at {refusal.source}" if refusal.source else ""
    return f"{refusal.operator}{times}{place}"


def _shortened(lines: list[str]) -> list[str]:
    rest = len(lines) - _MOST_LINES
    return lines if rest <= 0 else [*lines[:_MOST_LINES], f"and {rest} more reasons"]

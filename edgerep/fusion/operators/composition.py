"""The map that an operation is of a value further up, from the maps of what it reads."""

from __future__ import annotations

from collections.abc import Mapping

from edgerep.fusion.algebra.channels import concatenated
from edgerep.fusion.algebra.linear_map import LinearMap
from edgerep.fusion.algebra.sequence import after, inexact
from edgerep.fusion.algebra.sums import constant, total
from edgerep.fusion.operators.operation import Concat, Node, Step, Sum

_MOST_TAPS = 1 << 12  # of one kernel; a 63x63 one


def composed(operation: Step | Sum | Concat, inner: Mapping[Node, LinearMap]) -> LinearMap:
    """An operation after the maps of what it reads.

    Args:
        operation: Applied last.
        inner: For each node that it reads, the map that the node is; all of one value.

    Raises:
        ValueError: The whole is not one map at every image size, or one of too many taps.
    """
    if isinstance(operation, Sum):
        terms = [(by, inner[source]) for by, source in operation.terms]
        return total(terms, constant(operation.shift))
    if isinstance(operation, Concat):
        return concatenated([inner[source] for source in operation.sources])
    first = inner[operation.source]
    if why := inexact(operation.map, first, operation.fill):
        raise ValueError(why)
    if len(operation.map.taps) * len(first.taps) > _MOST_TAPS:
        raise ValueError("the kernel of the whole would be too large")
    return after(operation.map, first)

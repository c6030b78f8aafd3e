"""The linear maps that each value of a graph is of the values before it, its bases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgerep.fusion.algebra.channels import with_groups
from edgerep.fusion.algebra.linear_map import LinearMap, identity_map
from edgerep.fusion.operators.composition import composed
from edgerep.fusion.operators.operation import Concat, Node, Operation, Step, Sum, View, source_of

_MOST_BASES = 8  # of one tensor, nearest first; a longer chain of layers is no re-parameterisation


@dataclass(frozen=True, eq=False)
class Form:
    """A value as a map of its base, and the nodes that compute it from there."""

    map: LinearMap
    nodes: frozenset[Node]


def forms_of(
    view: View, operations: Mapping[Node, Operation], refused: dict[Node, str]
) -> dict[Node, dict[Node, Form]]:
    """By each node, and by each of its bases, the map that the node is of the base.

    Args:
        view: Of the graph.
        operations: Of its nodes, in the order of the graph.
        refused: Why a node was not joined with what it reads; added to.
    """
    forms: dict[Node, dict[Node, Form]] = {}
    for node, operation in operations.items():
        if isinstance(operation, Step):
            found = _step_forms(node, operation, operations, forms, refused)
        elif isinstance(operation, Sum | Concat):
            found = _joined_forms(view, node, operation, operations, forms, refused)
        else:
            continue
        forms[node] = dict(list(found.items())[:_MOST_BASES])
    return forms


def _step_forms(
    node: Node,
    step: Step,
    operations: Mapping[Node, Operation],
    forms: Mapping[Node, Mapping[Node, Form]],
    refused: dict[Node, str],
) -> dict[Node, Form]:
    source = source_of(operations, step.source)
    found = {}
    if step.fill is None:
        found[source] = Form(step.map, frozenset({node, *step.parts}))
    for base, inner in forms.get(source, {}).items():
        try:
            whole = composed(step, {step.source: inner.map})
        except ValueError as why:
            refused.setdefault(node, str(why))
            continue
        found[base] = Form(whole, inner.nodes | {node, *step.parts})
    return found


def _joined_forms(
    view: View,
    node: Node,
    operation: Sum | Concat,
    operations: Mapping[Node, Operation],
    forms: Mapping[Node, Mapping[Node, Form]],
    refused: dict[Node, str],
) -> dict[Node, Form]:
    found = {}
    sources = {term: source_of(operations, term) for term in operation.sources}
    bases = [{source, *forms.get(source, {})} for source in sources.values()]
    first = sources[operation.sources[0]]
    for base in (first, *forms.get(first, {})):
        if any(base not in others for others in bases):
            continue
        known = {source: forms[source][base] for source in sources.values() if source is not base}
        plain = identity_map(view.channels(base), view.axes(base))
        inner = {
            term: plain if source is base else known[source].map for term, source in sources.items()
        }
        nodes = frozenset({node}).union(*(one.nodes for one in known.values()))
        try:
            whole = composed(operation, inner)
        except ValueError as why:
            refused.setdefault(node, str(why))
            continue
        if isinstance(operation, Concat) and any(_selects(operations, one) for one in nodes):
            whole = with_groups(whole)
        found[base] = Form(whole, nodes)
    return found


def _selects(operations: Mapping[Node, Operation], node: Node) -> bool:
    operation = operations.get(node)
    return isinstance(operation, Step) and operation.selects

"""What stays as it was, and why, in words."""

from __future__ import annotations

from torch import fx

from edgerep.fusion.operators.operation import Step, Sum
from edgerep.fusion.operators.reading import has_hooks, is_batchnorm
from edgerep.fusion.regions.unit import Unit
from edgerep.fusion.trace.calls import place_of
from edgerep.torch_modules.layer_kinds import plain_kind
from edgerep.torch_modules.tree import joined, part_at


def left_in(unit: Unit) -> list[tuple[str, str]]:
    """BatchNorms and sums of linear branches in a unit that are in no region."""
    folded = {node for region in unit.findings.regions for node in region.nodes}
    refused = unit.findings.refused
    left = []
    for node in unit.trace.graph.nodes:
        if node in folded:
            continue
        operation = unit.findings.operations.get(node)
        if _is_hooked(unit, node):
            left.append((_path(unit, node), "it has hooks, which folding would lose: remove them"))
        elif is_batchnorm(unit.view, node):
            left.append((_path(unit, node), _why(unit, node)))
        elif isinstance(operation, Sum) and len(operation.terms) > 1 and node in refused:
            left.append((_path(unit, node), f"sum: {refused[node]}"))
    return left


def _is_hooked(unit: Unit, node: fx.Node) -> bool:
    if node.op != "call_module":
        return False
    module = part_at(unit.view.module, str(node.target))
    return plain_kind(module) is not None and has_hooks(module)


def _why(unit: Unit, node: fx.Node) -> str:
    refused, operations = unit.findings.refused, unit.findings.operations
    if not isinstance(operations.get(node), Step):
        return "it has no running statistics: it normalises by those of the batch"
    if node in refused:
        return refused[node]
    for reader in node.users:
        if reader in refused:
            return f"{_path(unit, reader)} cannot take it in: {refused[reader]}"
    return "no layer stands directly before or behind it"


def _path(unit: Unit, node: fx.Node) -> str:
    place = place_of(node)
    return joined(unit.prefix, place[0] if place else node.name) or node.name

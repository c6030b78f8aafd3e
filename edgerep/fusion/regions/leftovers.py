"""What stays as it was, and why, in words."""

from __future__ import annotations

from torch import fx

from edgerep.fusion.operators.operation import Step, Sum
from edgerep.fusion.operators.reading import has_hooks, is_batchnorm
from edgerep.fusion.regions.unit import Unit
from edgerep.fusion.trace.calls import line_of, place_of
from edgerep.torch_modules.layer_kinds import plain_kind
from edgerep.torch_modules.tree import joined, part_at

_REMEDIES = {
    "something else reads a value in between": "it folds where only the whole is read",
    "what its branches read is changed in place between them": "change a copy instead",
    "it pads what a padded convolution gives": "no one convolution gives the same at the border; "
    "it folds where only the first of them pads",
    "it pads with another value than the constant added before it": "no one convolution gives the "
    "same at the border; it folds without that constant, or where the border is filled with it",
    "it pads what a convolution gives with parts of it": "it folds where the padding comes first",
    "a transposed convolution spreads the constant added before it unevenly": "it folds behind it",
    "its branches give the same size only for some image sizes": "pad them alike",
    "its branches continue the image in different ways beyond the border": "pad them alike",
    "one convolution would take more multiply-adds": "it is cheaper as it is",
}  # by reasons of the algebra and of the search


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
            left.append((_path(unit, node), _placed(node, _why(unit, node))))
        elif isinstance(operation, Sum) and len(operation.terms) > 1 and node in refused:
            left.append((_path(unit, node), _placed(node, f"sum: {_advised(refused[node])}")))
    return left


def _placed(node: fx.Node, why: str) -> str:
    """A reason with the line of the user's code that it is about."""
    line = line_of(node)
    return f"{why} ({line})" if line else why


def _advised(why: str) -> str:
    """A reason, and what would make it go away."""
    return f"{why}: {_REMEDIES[why]}" if why in _REMEDIES else why


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
        return _advised(refused[node])
    for reader in node.users:
        if reader in refused:
            return f"{_path(unit, reader)} cannot take it in: {_advised(refused[reader])}"
    return "no layer stands directly before or behind it"


def _path(unit: Unit, node: fx.Node) -> str:
    place = place_of(node)
    return joined(unit.prefix, place[0] if place else node.name) or node.name

"""Regions that are a row of modules: each is given what the one before it gave, and nothing else.

A module is one of torch's layers, or one with code of its own that lies in the region as a whole:
YOLOv7's implicit layers, which add a constant or multiply with one, before and behind a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from edgerep.fusion.operators.operation import Same, View, source_of
from edgerep.fusion.regions.search import Findings, Region
from edgerep.fusion.trace.calls import Call, Trace, place_of
from edgerep.torch_modules.tree import parent_of


def row_of(
    trace: Trace, view: View, findings: Findings, region: Region, common: str, layer: str
) -> list[str]:
    """Paths of the modules that a region is a row of; empty where it is none.

    The layer may read the base where it stands: nobody writes to that in the meantime, and nothing
    outside the region reads what the modules hold.

    Args:
        trace: The recording that the region is of.
        view: Its graph, with what a run showed.
        findings: The regions of that graph.
        region: The region.
        common: Path of the smallest module that has all of the region in its code.
        layer: Path of the region's one layer.
    """
    paths: list[str] = []
    source, ends = region.base, region.nodes
    position = 0
    while position < len(ends):
        found = _module_at(trace, view, findings, region, position, common, source)
        if found is None:
            return []
        path, position = found
        paths.append(path)
        source = ends[position - 1]
    if are_read(view, trace, region, paths) or _is_written_before(view, region, layer):
        return []
    return paths


def _module_at(
    trace: Trace,
    view: View,
    findings: Findings,
    region: Region,
    position: int,
    common: str,
    source: fx.Node,
) -> tuple[str, int] | None:
    """The module that a region's node begins, and the position of the node behind it; or None."""
    node = region.nodes[position]
    place = place_of(node)
    if node.op == "call_module":
        inputs = node.all_input_nodes
        if trace.count(str(node.target)) != 1 or len(inputs) != 1:
            return None
        at = source_of(findings.operations, inputs[0])
        return (str(node.target), position + 1) if at is source else None
    if place is None:
        return None
    path, around = place[0], []
    while path and path != common:
        around.append(path)
        path = parent_of(path)
    for path in reversed(around):
        if trace.count(path) != 1:
            continue
        call = trace.first_call(path)
        end = position
        while end < len(region.nodes) and call.made(region.nodes[end]):
            end += 1
        if _is_all_of(call, trace, view, findings, region, source, region.nodes[end - 1]):
            return path, end
    return None


def _is_all_of(
    call: Call,
    trace: Trace,
    view: View,
    findings: Findings,
    region: Region,
    source: fx.Node,
    last: fx.Node,
) -> bool:
    """Whether a region is all that a call does: it is given `source` and gives `last`."""
    given = [*call.args, *call.kwargs.values()]
    if len(given) != 1 or not isinstance(given[0], fx.Proxy):
        return False
    if source_of(findings.operations, given[0].node) is not source:
        return False
    if not isinstance(call.result, fx.Proxy):
        return False
    if not comes_from(last, call.result.node, findings):
        return False
    for node in trace.graph.nodes:
        if node.op != "get_attr" and call.made(node):
            known = node in region.nodes or view.constants.holds(node)
            if view.writes.get(node):
                return False
            if not known and not isinstance(findings.operations.get(node), Same):
                return False
    return True


def _is_written_before(view: View, region: Region, layer: str) -> bool:
    """Whether somebody writes to the base between the first of the modules and the layer.

    Those before the layer hand the base on, to be read where the layer stands.
    """
    node, base = region.nodes[0], view.memory.get(region.base, region.base)
    while not (node.op == "call_module" and str(node.target) == layer):
        node = node.next
        if base in view.writes.get(node, ()):
            return True
    return False


def are_read(view: View, trace: Trace, region: Region, paths: Sequence[str]) -> bool:
    """Whether code outside a region reads the tensors of modules that the region would replace."""
    within = tuple(f"{path}." for path in paths)
    waiting = [node for node in trace.held if str(node.target).startswith(within)]
    seen = set[fx.Node]()
    while waiting:
        node = waiting.pop()
        for user in node.users:
            if not view.constants.holds(user) and user not in region.nodes:
                return True
            if user not in seen and user not in region.nodes:
                seen.add(user)
                waiting.append(user)
    return False


def comes_from(node: fx.Node, value: Any, findings: Findings) -> bool:
    """Whether a value is what a node gives, perhaps handed on."""
    return isinstance(value, fx.Node) and source_of(findings.operations, value) is node

"""A linear layer on [N, ..., C] and the BatchNorm behind it, with a change of layout in between.

LeViT flattens, UniRepLKNet moves the channels to the front: the BatchNorm still scales and shifts
each of the layer's outputs, so its numbers go into the layer, and it becomes an identity. The code
and the changes of layout stay as they are.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import fx

from edgerep.fusion.algebra.layer import settle
from edgerep.fusion.algebra.sequence import after
from edgerep.fusion.operators.layers import linear_map, normalising_map
from edgerep.fusion.operators.operation import Node, Same, Step, View, source_of
from edgerep.fusion.operators.reading import has_hooks, weights_of
from edgerep.fusion.regions.search import Findings, Region
from edgerep.fusion.trace.guards import looks
from edgerep.torch_modules.layer_kinds import plain_kind
from edgerep.torch_modules.tree import part_at

_SHAPED_ALIKE = ("reshape_as", "view_as", "expand_as")


def with_carried(view: View, graph: fx.Graph, findings: Findings) -> Findings:
    """The same findings, and a region for each such pair of layers that is in none yet."""
    taken = {node for region in findings.regions for node in region.nodes}
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    regions, operations = list(findings.regions), dict(findings.operations)
    for norm in graph.nodes:
        if norm in taken or calls[norm.target] != 1 or _kind(view, norm) != "batchnorm":
            continue
        row = list(_row(view, findings, norm))
        layer = row[-1] if row else norm
        if layer is norm or layer in taken or calls[layer.target] != 1:
            continue
        if not _is_closed(row, norm) or (steps := _steps(view, findings, row, norm)) is None:
            continue
        regions.append(_region(view, layer, norm, steps))
        operations |= {node: Same(source) for node, source in itertools.pairwise(row)}
        operations |= steps
        taken |= {layer, norm}
    order = {node: index for index, node in enumerate(graph.nodes)}
    regions.sort(key=lambda region: order[region.last])
    return replace(findings, regions=tuple(regions), operations=operations)


def _kind(view: View, node: Node) -> str | None:
    """What a module is that computes just what its class says; None for anything else."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    module = part_at(view.module, str(node.target))
    return None if has_hooks(module) else plain_kind(module)


def _row(view: View, findings: Findings, norm: Node) -> Iterator[Node]:
    """The changes of layout in front of a BatchNorm, last one first, then the linear layer.

    Nothing where the BatchNorm's channels are not the layer's outputs.
    """
    found: list[Node] = []
    node, axis = norm.args[0], 1
    while isinstance(node, fx.Node) and node in view.facts:
        found.append(node)
        if _kind(view, node) == "linear":
            rank = len(view.facts[node].shape)
            if rank > 2 and axis == rank - 1:
                yield from found
            return
        operation = findings.operations.get(node)
        if isinstance(operation, Same):
            node = operation.source
            continue
        before = _axis_before(view, node, axis)
        if before is None:
            return
        node, axis = node.args[0], before


def _axis_before(view: View, node: Node, axis: int) -> int | None:
    """Which axis of its input a node makes this axis of; None if it does more than that."""
    if not node.args or node.kwargs:
        return None
    source, *numbers = node.args
    name = getattr(node.target, "__name__", node.target)
    if not isinstance(source, fx.Node) or source not in view.facts:
        return None
    rank = len(view.facts[source].shape)
    flat = numbers[0] if len(numbers) == 1 and isinstance(numbers[0], list | tuple) else numbers
    places = [number % rank for number in flat if isinstance(number, int)]
    if len(places) != len(flat):
        return None
    if name == "permute" and len(places) == rank:
        return places[axis]
    if name in ("transpose", "swapaxes", "swapdims") and len(places) == 2:
        first, second = places
        return {first: second, second: first}.get(axis, axis)
    if name == "flatten" and places:
        start, end = places if len(places) == 2 else (places[0], rank - 1)
        return axis if axis < start else axis + end - start if axis > start else None
    return None


def _is_closed(row: list[Node], norm: Node) -> bool:
    """Whether all others only ask for the shape, which stays as it is."""
    chain = {norm, *row}
    return all(
        user in chain or looks(user) or (user.target in _SHAPED_ALIKE and user.args[0] is not node)
        for node in row
        for user in node.users
    )


def _steps(view: View, findings: Findings, row: list[Node], norm: Node) -> dict[Node, Step] | None:
    """The layer and the BatchNorm as maps of vectors."""
    layer = row[-1]
    base = source_of(findings.operations, layer.all_input_nodes[0])
    linear: Any = part_at(view.module, str(layer.target))
    module: Any = part_at(view.module, str(norm.target))
    if module.running_mean is None or not view.is_activation(base):
        return None
    if view.facts[base].dtype != view.facts[norm].dtype:
        return None
    scaled = normalising_map(
        module.running_mean, module.running_var, module.weight, module.bias, module.eps,
        linear.out_features, 0,
    )  # fmt: skip
    return {
        layer: Step(base, linear_map(*weights_of(linear)), is_layer=True),
        norm: Step(row[0], scaled, is_batchnorm=True),
    }


def _region(view: View, layer: Node, norm: Node, steps: Mapping[Node, Step]) -> Region:
    return Region(
        base=steps[layer].source,
        nodes=(layer, norm),
        settled=settle(after(steps[norm].map, steps[layer].map)),
        batchnorms=1,
        layers=1,
        saved=math.prod(view.facts[norm].shape[1:]),
        starts_with_layer=True,
        carried=True,
    )

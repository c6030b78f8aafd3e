"""Where in a network a region is folded: which module changes, and what the layer is called.

Three ways, the mildest that fits:

- "chain": the region is a row of modules, one of them a layer. The fused layer takes
  that layer's place and the others become `nn.Identity`; no code changes.
- "whole": the region is everything a module does. The module itself becomes the layer.
- "inside": the smallest module around the region gets new code, and the layer as a child.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx, nn

from edgerep.fusion.algebra.layer import Settled
from edgerep.fusion.operators.operation import Step, View, source_of
from edgerep.fusion.regions.rows import are_read, comes_from, row_of
from edgerep.fusion.regions.search import Findings, Region
from edgerep.fusion.trace.calls import Place, Trace, place_of
from edgerep.fusion.trace.graph_run import Fact
from edgerep.torch_modules.layer_kinds import plain_kind
from edgerep.torch_modules.tree import joined, parent_of, part_at


@dataclass(frozen=True, eq=False)
class Site:
    """One region and its place in the network.

    Attributes:
        how: "chain", "whole" or "inside".
        module: Path of the module that changes; of the layer that is replaced, for a chain.
        name: Path of the fused layer.
        settled: The map, as a layer.
        like: Type and device of the fused layer.
        places: Where the region's nodes were made, in order; paths are those of the whole network.
        identities: For a chain, paths of the modules that become `nn.Identity`.
        reader: Index into `places` of a node that reads the base, and which of its inputs that is.
        batchnorms: How many BatchNorms are folded.
        layers: How many layers and pools are folded.
    """

    how: str
    module: str
    name: str
    settled: Settled
    like: Fact
    places: tuple[Place, ...]
    identities: tuple[str, ...]
    reader: tuple[int, int]
    batchnorms: int
    layers: int


def locate(
    root: nn.Module,
    prefix: str,
    trace: Trace,
    view: View,
    findings: Findings,
    taken: set[str],
) -> list[Site]:
    """The sites of a graph's regions.

    Args:
        root: The whole network.
        prefix: Path of the module that was traced.
        trace: The recording of that module.
        view: Its graph, with what a run showed.
        findings: The regions of that graph.
        taken: Names of fused layers given so far; added to.
    """
    return [
        _site(root, prefix, trace, view, findings, region, taken) for region in findings.regions
    ]


def _site(
    root: nn.Module,
    prefix: str,
    trace: Trace,
    view: View,
    findings: Findings,
    region: Region,
    taken: set[str],
) -> Site:
    places = [_known(place_of(node)) for node in region.nodes]
    common = _common_module(trace, region, places)
    owner, fixed = _owner(root, joined(prefix, common), prefix)
    layer = _only_layer(view, findings, region)
    if layer is not None and are_read(view, trace, region, [layer]):
        layer = None  # its numbers stay what they are
    identities: tuple[str, ...] = ()
    if fixed is not None and not region.carried:
        how, module, name = "inside", owner, joined(owner, fixed)
    elif layer is not None and (row := row_of(trace, view, findings, region, common, layer)):
        how, module, name = "chain", joined(prefix, layer), joined(prefix, layer)
        identities = tuple(joined(prefix, path) for path in row if path != layer)
    elif _is_whole(trace, view, findings, region, common) and not are_read(
        view, trace, region, [common]
    ):
        how, module, name = "whole", joined(prefix, common), joined(prefix, common)
    else:
        how, module = "inside", joined(prefix, common)
        name = joined(prefix, layer) if layer else joined(module, "reparam")
        # A layer that other calls still need keeps its place.
        if layer and trace.count(layer) != 1:
            name = joined(module, "reparam")
    base, count = name, 1
    while name in taken or (how == "inside" and layer is None and _has(root, name)):
        name, count = f"{base}_{count}", count + 1
    taken.add(name)
    return Site(
        how=how,
        module=module,
        name=name,
        settled=region.settled,
        like=view.facts[region.base],
        places=tuple((joined(prefix, path), call, index) for path, call, index in places),
        identities=identities,
        reader=_reader(findings, region),
        batchnorms=region.batchnorms,
        layers=region.layers,
    )


def _known(place: Place | None) -> Place:
    if place is None:
        raise ValueError("a region holds a node that is no call")
    return place


def _common_module(trace: Trace, region: Region, places: Sequence[Place]) -> str:
    """The smallest module that is called and has all of the region in its code."""
    paths = [
        parent_of(path) if node.op == "call_module" else path
        for node, (path, _, _) in zip(region.nodes, places, strict=True)
    ]
    split = [path.split(".") if path else [] for path in paths]
    common: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    path = ".".join(common)
    called = {call.path for call in trace.calls}
    while path and path not in called:  # a ModuleList is no place for code
        path = parent_of(path)
    return path


def _owner(root: nn.Module, path: str, top: str) -> tuple[str, str | None]:
    """The nearest module around that says what its fused layer is called, and what it says."""
    while True:
        name = getattr(type(part_at(root, path)), "fused_name", None)
        if name is not None:
            return path, str(name)
        if path in ("", top):
            return path, None
        path = parent_of(path)


def _only_layer(view: View, findings: Findings, region: Region) -> str | None:
    """Path of the region's one module with weights, if it has one and nothing else has any."""
    found = []
    for node in region.nodes:
        operation = findings.operations.get(node)
        if isinstance(operation, Step) and operation.is_layer:
            if node.op != "call_module":
                return None
            module = part_at(view.module, str(node.target))
            if plain_kind(module) not in ("convolution", "transposed", "linear"):
                return None
            found.append(str(node.target))
    return found[0] if len(found) == 1 else None


def _is_whole(trace: Trace, view: View, findings: Findings, region: Region, common: str) -> bool:
    inner = {node for node in view.writes if node in region.nodes or view.constants.holds(node)}
    if any(_is_within(node, common) for node in view.writes if node not in inner):
        return False  # it does more than to compute its result
    if common == "":
        inputs = [node for node in trace.graph.nodes if node.op == "placeholder"]
        output = next(node for node in trace.graph.nodes if node.op == "output").args[0]
        return inputs == [region.base] and comes_from(region.last, output, findings)
    calls = [call for call in trace.calls if call.path == common]
    if len(calls) != 1 or trace.count(common) != 1:
        return False
    (call,) = calls
    given = [*call.args, *call.kwargs.values()]
    if len(given) != 1 or not isinstance(given[0], fx.Proxy):
        return False
    result = call.result
    return (
        comes_from(region.base, given[0].node, findings)
        and isinstance(result, fx.Proxy)
        and comes_from(region.last, result.node, findings)
    )


def _is_within(node: fx.Node, path: str) -> bool:
    """Whether a node was made by the code of a module, or of one inside it."""
    place = place_of(node)
    return not path or (place is not None and f"{place[0]}.".startswith(f"{path}."))


def _reader(findings: Findings, region: Region) -> tuple[int, int]:
    for index, node in enumerate(region.nodes):
        for position, source in enumerate(node.all_input_nodes):
            if source_of(findings.operations, source) is region.base:
                return index, position
    raise ValueError("nothing in a region reads its base")


def _has(root: nn.Module, path: str) -> bool:
    owner, _, name = path.rpartition(".")
    return hasattr(part_at(root, owner), name)

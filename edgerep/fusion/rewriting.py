"""Put fused layers into a network: exchange modules, or give a module new code.

A module with new code stays what it was: an instance of a subclass of its class, with its
attributes and methods, its `forward` replaced by what was traced, less the region, plus the layer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from torch import fx, nn

from edgerep.fusion.fused_class import fused_class, instance
from edgerep.fusion.operators.operation import View
from edgerep.fusion.regions.search import Region
from edgerep.fusion.regions.sites import Site
from edgerep.fusion.trace.extraction import Extract
from edgerep.torch_modules.arguments import Arguments
from edgerep.torch_modules.tree import parent_of, part_at, parts_of, put_at

Classes: TypeAlias = dict[object, type[nn.Module]]  # by original class and code

# Attributes of a module that becomes a layer which its surroundings may ask for.
_OWN_OF_LAYERS = frozenset(dir(nn.Conv2d(1, 1, 1))) | frozenset(dir(nn.Linear(1, 1)))


def as_layer(module: nn.Module, layer: nn.Module) -> nn.Module:
    """The layer that a whole module becomes, with the attributes that a parent may read of it."""
    for name, value in vars(module).items():
        if not name.startswith("_") and name not in _OWN_OF_LAYERS and not hasattr(layer, name):
            setattr(layer, name, value)
    return layer


def rewrite(
    module: nn.Module,
    path: str,
    code: Extract,
    arguments: Arguments,
    folds: Sequence[tuple[Site, Region]],
    layers: Mapping[str, nn.Module],
    classes: Classes,
    view: View,
) -> nn.Module:
    """Fold the sites in a module's code.

    Args:
        module: At `path`; it is taken apart, and what it holds goes into the new one.
        path: Of the module in the whole network.
        code: Of the module, with the regions' nodes written out.
        arguments: Of the call that the code is of.
        folds: The sites, and the regions that they were found as.
        layers: Of each site, by name.
        classes: Those made so far: modules of the same class and code share one.
        view: Of the trace that the code was cut out of.
    """
    for site, region in folds:
        name = site.name[len(path) + 1 :] if path else site.name
        put_at(module, name, layers[site.name])
        _fold(code.graph, [code.nodes[node] for node in region.nodes], site, name)
    _erase_dead_constants(code, view)
    _drop_unused(code.graph, module)
    is_plain = _is_plain_call(arguments)
    known = None if is_plain and arguments.ranks is None else arguments
    key = (type(module), _signature(code.graph), arguments.ranks) if is_plain else None
    made = classes.get(key)
    if made is None:
        text = code.graph.python_code("self")
        made = fused_class(type(module), text.src, text.globals, known, code.handed)
        if key is not None:
            classes[key] = made
    return instance(made, vars(module))


def opened_paths(path: str, sites: Sequence[Site]) -> frozenset[str]:
    """Paths of the modules between `path` and the nodes of the sites: recorded from the inside."""
    found = set()
    for site in sites:
        for place, _, _ in site.places:
            while place and place != path:
                found.add(place)
                place = parent_of(place)
    return frozenset(found)


def _fold(graph: fx.Graph, region: Sequence[fx.Node], site: Site, name: str) -> None:
    """Replace a region's nodes by one call of the layer, where the first of them stands."""
    index, position = site.reader
    base = region[index].all_input_nodes[position]
    order = {node: at for at, node in enumerate(graph.nodes)}
    inside = set(region)
    first = min(
        (node for node in region if any(_leads_to(s, base, inside) for s in node.all_input_nodes)),
        key=order.__getitem__,
    )
    with graph.inserting_before(first):
        call = graph.call_module(name, (base,))
    region[-1].replace_all_uses_with(call)
    feeding = [source for node in region for source in node.all_input_nodes]
    for node in reversed([node for node in graph.nodes if node in inside]):
        _erase_with_users(graph, node)  # what only handed a value on, or asserted something of it
    for node in feeding:
        _erase_unused(graph, node)


def _leads_to(node: fx.Node, base: fx.Node, region: Collection[fx.Node]) -> bool:
    """Whether a node is the base, or hands it on."""
    while node is not base:
        if node in region or len(node.all_input_nodes) != 1:
            return False
        node = node.all_input_nodes[0]
    return True


def _erase_with_users(graph: fx.Graph, node: fx.Node) -> None:
    while node.users:  # one of them may go with another
        _erase_with_users(graph, next(iter(node.users)))
    graph.erase_node(node)


def _erase_unused(graph: fx.Graph, node: fx.Node) -> None:
    """Erase what nothing reads any more, and then what only that read: constants of the region."""
    if node.users or node.op in ("placeholder", "output") or node not in graph.nodes:
        return
    sources = node.all_input_nodes
    graph.erase_node(node)
    for source in sources:
        _erase_unused(graph, source)


def _erase_dead_constants(code: Extract, view: View) -> None:
    """Erase what only computed the kernels of folded layers, also what was written in place."""
    present = set(code.graph.nodes)
    origin = {
        mine: theirs for theirs, mine in code.nodes.items()
        if mine in present and mine.op == theirs.op  # no call of a child for what it computes
    }  # fmt: skip
    constants = {mine for mine, theirs in origin.items() if view.constants.holds(theirs)}
    writers: dict[fx.Node, list[fx.Node]] = {}
    for mine, theirs in origin.items():
        for memory in view.writes.get(theirs, ()):
            writers.setdefault(memory, []).append(mine)
    waiting = [node for node in code.graph.nodes if node not in constants]
    live = set[fx.Node]()
    while waiting:
        node = waiting.pop()
        if node in live:
            continue
        live.add(node)
        waiting += node.all_input_nodes
        if node in origin:
            waiting += writers.get(view.memory.get(origin[node], origin[node]), [])
    for node in reversed(list(code.graph.nodes)):
        if node not in live:
            code.graph.erase_node(node)


def _drop_unused(graph: fx.Graph, module: nn.Module) -> None:
    """Take out what the new code does not mention: folded layers and their BatchNorms."""
    around, whole = {id(module)}, set[int]()
    for node in graph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        part = module
        for name in str(node.target).split("."):
            if name not in part._modules:
                break  # a tensor of this part
            part = part_at(part, name)
            around.add(id(part))
        else:
            whole.update(map(id, parts_of(part)))
    for part in parts_of(module):
        if id(part) not in whole:
            for name, child in list(part._modules.items()):
                if child is not None and id(child) not in around | whole:
                    del part._modules[name]


def _signature(graph: fx.Graph) -> tuple[object, ...]:
    """What tells the code of two graphs apart, whatever their values are called."""
    numbers: dict[fx.Node, str] = {}
    parts = []
    for node in graph.nodes:
        numbers[node] = f"\0{len(numbers)}"
        given = fx.map_arg((node.args, node.kwargs), numbers.__getitem__)
        parts.append((node.op, node.target, repr(given)))
    return tuple(parts)


def _is_plain_call(arguments: Arguments) -> bool:
    """Every argument is one tensor and has no default: the recorded code can be called directly."""
    count = len(arguments.names)
    return arguments.filled(range(count)) == (list(range(count)), {}) and all(
        parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        for parameter in arguments.signature.parameters.values()
    )

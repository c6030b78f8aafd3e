"""Make the fused network out of the sites that were found: outermost modules first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgerep.fusion.algebra.layer import empty_layer, write_numbers
from edgerep.fusion.regions.placement import Placed, within
from edgerep.fusion.regions.sites import Site
from edgerep.fusion.regions.unit import Unit
from edgerep.fusion.rewriting import Classes, as_layer, opened_paths, rewrite
from edgerep.fusion.trace.calls import UntraceableError
from edgerep.fusion.trace.extraction import Extract, extract
from edgerep.fusion.trace.graph_run import Fact
from edgerep.torch_modules.arguments import Arguments, arguments_of
from edgerep.torch_modules.layer_kinds import plain_kind
from edgerep.torch_modules.tree import every_path, joined, parent_of, part_at, put_at


@dataclass(frozen=True, eq=False)
class Built:
    """A fused network.

    Attributes:
        module: The network.
        placed: The sites that are folded in it.
        layers: The fused layer of each of those sites, by the site's name.
        failed: By name, why other sites could not be folded.
    """

    module: nn.Module
    placed: Sequence[Placed]
    layers: Mapping[str, nn.Module]
    failed: Mapping[str, str]


def build(tree: nn.Module, placed: Sequence[Placed]) -> Built:
    """Fold every site into a network, and write the numbers of the fused layers.

    Args:
        tree: A copy of the network that may be taken apart.
        placed: The sites.
    """
    layers = {p.site.name: empty_layer(p.site.settled, _like(p.site.like)) for p in placed}
    module, failed = _folded(tree, placed, layers)
    done = [one for one in placed if one.site.name not in failed]
    for one in done:
        write_numbers(one.site.settled, layers[one.site.name])
    return Built(module, done, {p.site.name: layers[p.site.name] for p in done}, failed)


def _like(fact: Fact) -> Tensor:
    return torch.empty(0, dtype=fact.dtype, device=fact.device)


def _folded(
    tree: nn.Module, placed: Sequence[Placed], layers: Mapping[str, nn.Module]
) -> tuple[nn.Module, dict[str, str]]:
    """The fused network, and by name why sites could not be folded."""
    failed: dict[str, str] = {}
    done: set[str] = set()
    classes: Classes = {}
    names = _names_of_each(tree)
    under = _by_surroundings(placed)
    for path in sorted({p.site.module for p in placed if p.site.how == "inside"}, key=_depth):
        near = [p for p in under[path] if p.site.name not in done]
        own = [p for p in near if p.site.how == "inside" and p.site.module == path]
        if not own:
            continue  # folded within a module around it
        opened, inner = _written_out(path, own, near)
        folds = [(p.site, p.region) for p in (*own, *inner)]
        try:
            code, arguments = _code_of(own[0].unit, path, opened)
        except UntraceableError as why:
            done |= {p.site.name for p in own}
            failed |= {p.site.name: f"its module's code cannot be cut out: {why}" for p in own}
            continue
        module, view = part_at(tree, path), own[0].unit.view
        new = rewrite(module, path, code, arguments, folds, layers, classes, view)
        if within(own[0].unit, path) in own[0].unit.trace.hooked:  # the code has what they do
            new._forward_pre_hooks = OrderedDict()
            new._forward_hooks = OrderedDict()
        tree = _exchanged(tree, names, path, new)
        done |= {site.name for site, _ in folds}
    for one in placed:
        if one.site.name not in done:
            tree = _exchange_modules(tree, names, one.site, layers[one.site.name])
    return tree, failed


def _exchange_modules(
    tree: nn.Module, names: Mapping[str, Sequence[str]], site: Site, layer: nn.Module
) -> nn.Module:
    if site.how == "whole":
        layer = as_layer(part_at(tree, site.module), layer)
    tree = _exchanged(tree, names, site.module, layer)
    for path in site.identities:
        part, same = part_at(tree, path), nn.Identity()
        tree = _exchanged(tree, names, path, same if plain_kind(part) else as_layer(part, same))
    return tree


def _exchanged(
    tree: nn.Module, names: Mapping[str, Sequence[str]], path: str, new: nn.Module
) -> nn.Module:
    """Put a module in the place of another, under every name that it has; the new tree."""
    if not path:
        return new
    for name in names[path]:
        try:
            put_at(tree, name, new)
        except AttributeError:
            continue  # its owner is folded
    return tree


def _names_of_each(tree: nn.Module) -> dict[str, list[str]]:
    """By each path, every path of the same module."""
    names: dict[int, list[str]] = {}
    for path, module in every_path(tree):
        names.setdefault(id(module), []).append(path)
    return {path: paths for paths in names.values() for path in paths}


def _by_surroundings(placed: Sequence[Placed]) -> dict[str, list[Placed]]:
    """Sites by every path around them."""
    under: dict[str, list[Placed]] = {}
    for one in placed:
        around = {one.site.module, *(place for place, _, _ in one.site.places)}
        for path in list(around):
            while path:
                path = parent_of(path)
                around.add(path)
        for path in around:
            under.setdefault(path, []).append(one)
    return under


def _depth(path: str) -> int:
    return path.count(".") + bool(path)


def _written_out(
    path: str, own: Sequence[Placed], near: Sequence[Placed]
) -> tuple[frozenset[str], list[Placed]]:
    """Paths of the modules whose code goes into that of `path`, and the sites that this brings in.

    Such a site may be in a deeper module, whose code then goes in as well.
    """
    inner: list[Placed] = []
    while True:
        opened = opened_paths(path, [p.site for p in (*own, *inner)])
        found = [p for p in near if p not in own and _stands_in(p.site, path, opened)]
        if len(found) == len(inner):
            return opened, found
        inner = found


def _stands_in(site: Site, path: str, opened: frozenset[str]) -> bool:
    """Whether a site's nodes are in the code of a module whose children in `opened` are inlined."""
    at = parent_of(site.module) if site.how == "chain" else site.module
    return at == path or at in opened or any(place in opened for place, _, _ in site.places)


def _code_of(unit: Unit, path: str, opened: frozenset[str]) -> tuple[Extract, Arguments]:
    """A module's graph in its unit's trace, and the arguments of the call that it is of."""
    inside = within(unit, path)
    arguments = unit.trace.arguments
    if inside:
        call = unit.trace.first_call(inside)
        arguments = arguments_of(part_at(unit.view.module, inside), call.args, call.kwargs)
    code = extract(
        unit.trace,
        unit.view.module,
        inside,
        arguments,
        lambda inner: joined(unit.prefix, inner) in opened,
    )
    if inside in unit.trace.by_rank:
        facts = [unit.view.facts.get(node) for node in code.given]
        ranks = tuple(None if fact is None else len(fact.shape) for fact in facts)
        arguments = replace(arguments, ranks=ranks)
    return code, arguments

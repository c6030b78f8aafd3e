"""Make the fused network out of the sites that were found: outermost modules first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from edgerep.fusion.regions.analysis import Analysis, Unit
from edgerep.fusion.regions.search import Region
from edgerep.fusion.regions.sites import Site
from edgerep.fusion.rewriting import Classes, as_layer, opened_paths, rewrite
from edgerep.fusion.trace.extraction import Extract, extract
from edgerep.fusion.trace.tracing import UntraceableError
from edgerep.torch_modules.arguments import Arguments, arguments_of
from edgerep.torch_modules.tree import every_path, joined, parent_of, part_at, put_at


@dataclass(frozen=True, eq=False)
class Placed:
    """A site, the region that it was found as, and the unit that both are of."""

    unit: Unit
    site: Site
    region: Region


def placed_sites(analysis: Analysis) -> list[Placed]:
    """Every site, in a module that is called once.

    A module that is called several times takes a site if all of its calls fold alike, and then
    once. Otherwise the site goes into the code around it that is called once.
    """
    kept: list[Placed] = []
    for unit in analysis.units:
        shared: dict[tuple[object, ...], list[Placed]] = {}
        for site, region in zip(unit.sites, unit.findings.regions, strict=True):
            placed = Placed(unit, site, region)
            calls = _calls_of(unit, site.module)
            if calls == 1:
                kept.append(placed)
                continue
            places = tuple(
                (path, number % max(1, _calls_of(unit, path) // calls), index)
                for path, number, index in site.places
            )
            shared.setdefault((site.module, places), []).append(placed)
        for same in shared.values():
            if len(same) == _calls_of(unit, same[0].site.module):
                kept.append(same[0])
            else:
                kept += [_moved_out(placed) for placed in same]
    return kept


def build(
    tree: nn.Module, placed: Sequence[Placed], layers: Mapping[str, nn.Module]
) -> tuple[nn.Module, dict[str, str]]:
    """Fold every site into a network.

    Args:
        tree: A copy of the network that may be taken apart.
        placed: The sites.
        layers: Of each site, by name.

    Returns:
        The fused network, and by name why sites could not be folded.
    """
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
        new = rewrite(part_at(tree, path), path, code, arguments, folds, layers, classes)
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
        tree = _exchanged(tree, names, path, nn.Identity())
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


def _moved_out(placed: Placed) -> Placed:
    unit, module = placed.unit, parent_of(placed.site.module)
    while module != unit.prefix and _calls_of(unit, module) != 1:
        module = parent_of(module)
    return replace(placed, site=replace(placed.site, how="inside", module=module))


def _calls_of(unit: Unit, path: str) -> int:
    """How often a module is called when its unit runs."""
    return 1 if path == unit.prefix else unit.trace.count(_within(unit, path))


def _code_of(unit: Unit, path: str, opened: frozenset[str]) -> tuple[Extract, Arguments]:
    """A module's graph in its unit's trace, and the arguments of the call that it is of."""
    within = _within(unit, path)
    arguments = unit.trace.arguments
    if within:
        call = unit.trace.first_call(within)
        arguments = arguments_of(part_at(unit.view.module, within), call.args, call.kwargs)
    code = extract(
        unit.trace,
        unit.view.module,
        within,
        arguments,
        lambda inner: joined(unit.prefix, inner) in opened,
    )
    if within in unit.trace.by_rank:
        facts = [unit.view.facts.get(node) for node in code.given]
        ranks = tuple(None if fact is None else len(fact.shape) for fact in facts)
        arguments = replace(arguments, ranks=ranks)
    return code, arguments


def _within(unit: Unit, path: str) -> str:
    return path[len(unit.prefix) + 1 :] if unit.prefix else path

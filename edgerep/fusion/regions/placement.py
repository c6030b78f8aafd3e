"""Which call of which module takes a site, where modules are called several times."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgerep.fusion.regions.search import Region
from edgerep.fusion.regions.sites import Site
from edgerep.fusion.regions.unit import Analysis, Unit
from edgerep.torch_modules.tree import parent_of


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
            calls = calls_of(unit, site.module)
            if calls == 1:
                kept.append(placed)
                continue
            places = tuple(
                (path, number % max(1, calls_of(unit, path) // calls), index)
                for path, number, index in site.places
            )
            shared.setdefault((site.module, places), []).append(placed)
        for same in shared.values():
            if len(same) == calls_of(unit, same[0].site.module):
                kept.append(same[0])
            else:
                kept += [_moved_out(placed) for placed in same]
    return kept


def _moved_out(placed: Placed) -> Placed:
    unit, module = placed.unit, parent_of(placed.site.module)
    while module != unit.prefix and calls_of(unit, module) != 1:
        module = parent_of(module)
    return replace(placed, site=replace(placed.site, how="inside", module=module))


def calls_of(unit: Unit, path: str) -> int:
    """How often a module is called when its unit runs."""
    return 1 if path == unit.prefix else unit.trace.count(within(unit, path))


def within(unit: Unit, path: str) -> str:
    """A path of the network as a path of the unit's module."""
    return path[len(unit.prefix) + 1 :] if unit.prefix else path

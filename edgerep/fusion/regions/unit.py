"""A module that was traced, and what was found in it."""

from __future__ import annotations

from dataclasses import dataclass

from edgerep.fusion.operators.operation import View
from edgerep.fusion.regions.search import Findings
from edgerep.fusion.regions.sites import Site
from edgerep.fusion.trace.calls import Trace


@dataclass(frozen=True, eq=False)
class Unit:
    """A module that was traced, and what was found in it.

    Attributes:
        prefix: Its path in the network.
        trace: Of its code.
        view: Of the trace's graph.
        findings: Regions and refusals.
        sites: One per region, in the same order.
    """

    prefix: str
    trace: Trace
    view: View
    findings: Findings
    sites: tuple[Site, ...]


@dataclass(frozen=True, eq=False)
class Analysis:
    """Every unit of a network, and what stays as it is.

    Attributes:
        units: Outermost first.
        left: Paths of BatchNorms, sums and modules that stay, and why.
    """

    units: tuple[Unit, ...]
    left: tuple[tuple[str, str], ...]

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(site for unit in self.units for site in unit.sites)

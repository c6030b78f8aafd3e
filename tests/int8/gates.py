"""What has to hold, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from int8.costs import LIMIT_BYTES, LIMIT_MINUTES

Row = Mapping[str, Any]
RECIPE, PLAIN = "recipe", "plain"
WITHIN_ROUNDING = 1e-9  # of percentages: 0.7 points are not missed by the last bit


@dataclass(frozen=True)
class Gate:
    """One bound on one figure.

    Attributes:
        name: What is bounded, of which case.
        value: The figure; NaN where there is none.
        bound: That it is held to.
        at_least: Whether it must reach the bound; otherwise it must not pass it.
    """

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        if self.at_least:
            return self.value >= self.bound - WITHIN_ROUNDING
        return self.value <= self.bound + WITHIN_ROUNDING

    def json(self) -> dict[str, Any]:
        return {
            "gate": self.name,
            "value": self.value if math.isfinite(self.value) else None,
            "bound": self.bound,
            "at_least": self.at_least,
            "kept": self.kept,
        }


def gates_of(networks: Sequence[Row], rows: Sequence[Row], costs: Sequence[Row]) -> Iterator[Gate]:
    """Every gate whose case was run; a case that failed misses its gates.

    Args:
        networks: `network`, `top1` and, where it is bounded, `within`.
        rows: `case`, `network`, `method`, and the fields of a `Judgement`.
        costs: `network`, `seconds`, `peak_bytes`.
    """
    found = {(row["case"], row["method"]): row for row in rows}

    def figure(case: str, field: str, method: str = RECIPE) -> float:
        value = found.get((case, method), {}).get(field)
        return math.nan if value is None else float(value)

    for network in networks:
        if network.get("within"):
            name, (low, high) = f"{network['network']}: float top-1, %", network["within"]
            yield Gate(name, network["top1"], low, at_least=True)
            yield Gate(name, network["top1"], high)
    for case in dict.fromkeys(row["case"] for row in rows):
        network, _, state = case.partition(": ")
        healthy = f"{network}: healthy"
        drop = figure(case, "drop")
        if network == "mixed" and state == "healthy":
            yield Gate(f"{case}: agreement, %", figure(case, "agreement"), 98.5, at_least=True)
            yield Gate(f"{case}: top-1 drop, points", drop, 0.7)
        elif state == "healthy":
            gain = figure(case, "sqnr_db") - figure(case, "sqnr_db", PLAIN)
            yield Gate(f"{case}: agreement, %", figure(case, "agreement"), 99, at_least=True)
            yield Gate(f"{case}: top-1 drop, points", drop, 0.5)
            yield Gate(f"{case}: SQNR over plain, dB", gain, 6, at_least=True)
        elif "W6A6" in state:
            yield Gate(f"{case}: top-1 drop, points", drop, 2)
        elif "16 images" in state:
            more = drop - figure(case, "drop", PLAIN)
            yield Gate(f"{case}: top-1 drop over plain's, points", more, 0.3)
        elif "scales" in state:
            yield Gate(f"{case}: top-1 drop, points", drop, 0.5)
            if (healthy, RECIPE) in found:
                moved = abs(figure(case, "sqnr_db") - figure(healthy, "sqnr_db"))
                yield Gate(f"{case}: SQNR away from the unstressed, dB", moved, 1)
        elif "dead" in state:
            yield Gate(f"{case}: top-1 drop, points", drop, 0.5)
    for cost in costs:
        name = cost["network"]
        minutes = math.nan if cost.get("seconds") is None else cost["seconds"] / 60
        peak = math.nan if cost.get("peak_bytes") is None else cost["peak_bytes"] / 1e9
        if name in LIMIT_MINUTES:
            yield Gate(f"{name}: minutes", minutes, LIMIT_MINUTES[name])
        yield Gate(f"{name}: peak memory, GB", peak, LIMIT_BYTES / 1e9)

"""What was done to make a graph narrow, in lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST = 4  # names in a line


def quantisation_lines(options: Mapping[str, Any]) -> list[str]:
    """What INT8 did and found, from the options of a graph; none for other graphs."""
    found = options.get("int8")
    if not found:
        return []
    taken = next(c for c in found["candidates"] if c["name"] == found["chosen"])
    plain = next((c for c in found["candidates"] if c["name"] == "plain"), taken)
    layers, kept = len(found["layers"]), found["kept"]
    lines = [
        f"{layers} layers in eight bits, calibrated on {found['images']} images; on "
        f"{found['held_out']} others {found['chosen']}: {_figures(taken)}"
        + (f" (plain: {_figures(plain)})" if taken is not plain else "")
    ]
    if kept:
        lines.append(f"in floating point: {_named(kept)}")
    if found["not_equalised"]:
        lines.append(f"not equalised: {_named(found['not_equalised'])}")
    return lines


def _figures(candidate: Mapping[str, Any]) -> str:
    agreement = candidate["agreement"]
    same = "" if agreement is None else f", {100 * agreement:.1f} % answered alike"
    worst = ""
    if candidate["parts"] > 1:
        worst = f" (worst of {candidate['parts']} outputs {candidate['worst_db']:.1f})"
    return f"{candidate['sqnr_db']:.1f} dB{worst}{same}"


def _named(reasons: Mapping[str, str]) -> str:
    some = [f"{name} ({why})" for name, why in list(reasons.items())[:_MOST]]
    if len(reasons) > _MOST:
        some.append(f"and {len(reasons) - _MOST} more")
    return "; ".join(some)

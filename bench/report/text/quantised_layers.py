"""A quantised graph as text: a row a layer, the worst first, and what TensorRT makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgerep.bench.report.text.quantisation import quantisation_lines
from edgerep.bench.report.text.table import table

_MOST_NODES = 3
_WORST = 3
PLAIN = "plain"


def quantised_lines(result: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """What was done to make a graph of eight bits, its worst layers, and who refuses it."""
    layers = result.get("quantised_layers") or []
    lines = quantisation_lines(options)
    if layers:
        count = sum(one["weights"] is not None and one["input"] is not None for one in layers)
        lines.append(f"{count} of {len(layers)} layers have int8 weights and activations")
    chosen = (options.get("int8") or {}).get("chosen")
    known = [one for one in layers if (one["sqnr_db"] or {}).get(chosen) is not None]
    if known:
        worst = sorted(known, key=lambda one: float(one["sqnr_db"][chosen]))[:_WORST]
        said = ", ".join(f"{one['name']} {one['sqnr_db'][chosen]:.1f} dB" for one in worst)
        lines.append(f"the worst layers: {said}")
    refused: dict[str, list[str]] = {}
    for release, objections in (result.get("refused_by") or {}).items():
        for one in objections:
            refused.setdefault(f"{_nodes(one['nodes'])}: {one['reason']}", []).append(release)
    lines += [f"{', '.join(names)} cannot take {what}" for what, names in refused.items()]
    return lines


def quantised_table(result: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """A row for each layer with its scales; "" for a float graph."""
    layers = result.get("quantised_layers") or []
    chosen = (options.get("int8") or {}).get("chosen")
    rows = [
        (
            one["name"],
            one["operator"],
            _scales(one["input"]),
            _scales(one["weights"]),
            one["bias"] or "-",
            _decibels(one["sqnr_db"], PLAIN),
            _decibels(one["sqnr_db"], chosen),
        )
        for one in layers
    ]
    headers = ("layer", "operator", "input", "weights", "bias", "plain, dB", "as it is, dB")
    return table(headers, rows, spare=("operator", "bias", "plain, dB")) if rows else ""


def _scales(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "float"
    around = "" if found["symmetric"] else ", asymmetric"
    if found["smallest"] is None:
        return f"{found['type']}, computed scales"
    if found["count"] == 1:
        return f"{found['type']} x {found['largest']:.3g}{around}"
    return f"{found['type']} x {found['smallest']:.2g}..{found['largest']:.2g}{around}"


def _decibels(figures: Mapping[str, Any] | None, stage: str | None) -> str:
    value = (figures or {}).get(stage or "")
    return "-" if value is None else f"{value:.1f}"


def _nodes(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NODES} more" if len(names) > _MOST_NODES else ""
    return ", ".join(names[:_MOST_NODES]) + more

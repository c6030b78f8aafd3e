"""What a float16 graph has to hold, and what was done so that it does, in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgerep.bench.report.text.table import table

_MOST = 6  # names, or warnings, in lines


def range_lines(options: Mapping[str, Any]) -> list[str]:
    """What was seen and done, from the options of a graph; none for graphs without a range."""
    found = options.get("range")
    if not found:
        return []
    kept = found.get("kept_fp32") or []
    lines = []
    if not found.get("measured_on"):
        lines.append(f"what it has to hold was not measured: {found.get('why_not')}")
    elif layers := found.get("layers"):
        top = max(layers, key=lambda one: _largest(one))
        lines.append(
            f"of {len(layers)} results on {found['count']} {found['measured_on']} the largest is "
            f"{_largest(top):.3g}, of `{top['name']}`; float16 holds {found['limit']:.0f}"
        )
    rescaled = found.get("rescaled") or {}
    if rescaled.get("channels"):
        before = max(one["before"] for one in found["layers"])
        lines.append(
            f"{rescaled['channels']} channels were rescaled by powers of two, exactly: before, the "
            f"largest was {before:.3g}"
        )
    if kept:
        lines.append(f"kept in float32: {_some(kept)}")
    warnings = found.get("warnings") or []
    lines += [f"warning: {one}" for one in warnings[:_MOST]]
    if len(warnings) > _MOST:
        lines.append(f"and {len(warnings) - _MOST} more warnings: `edgerep inspect` has them all")
    return lines


def range_table(options: Mapping[str, Any]) -> str:
    """A row for each result of a float16 graph: what it gives; "" where nothing was measured."""
    layers = (options.get("range") or {}).get("layers") or []
    kept = set((options.get("range") or {}).get("kept_fp32") or ())
    rows = [
        (
            one["name"],
            one["operator"],
            f"{one['low']:.3g}",
            f"{one['high']:.3g}",
            f"{one['typical']:.2g}",
            f"{one['before']:.3g}",
            "float32" if one["name"] in kept else "float16",
        )
        for one in layers
    ]
    headers = ("layer", "operator", "smallest", "largest", "typical", "before rescaling", "kept as")
    return table(headers, rows, spare=("operator", "before rescaling")) if rows else ""


def _largest(one: Mapping[str, Any]) -> float:
    return max(abs(float(one["low"])), abs(float(one["high"])))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more

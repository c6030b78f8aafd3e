"""The report's section on what float16 files have to hold."""

from __future__ import annotations

from collections.abc import Sequence

from edgerep.bench.report.html.markup import Markup, tag
from edgerep.bench.report.html.parts import (
    NONE,
    Fields,
    badge,
    code,
    folded,
    html_table,
    number,
    section,
)


def ranges_section(artefacts: Sequence[Fields]) -> Markup | None:
    """What each layer of the float16 graphs gives, and what was done; None without such a graph."""
    found = [one for one in artefacts if one.get("range")]
    if not found:
        return None
    children = [child for one in found for child in _graph(one, one["range"])]
    return section(
        "Range of float16",
        "float16 ends at 65504, and below 6.1e-5 it has fewer digits. What the layers give was "
        "measured before the file was made; channels are rescaled by powers of two, which changes "
        "no answer, and what cannot be rescaled stays float32.",
        *children,
    )


def _graph(one: Fields, ranges: Fields) -> list[Markup]:
    layers: Sequence[Fields] = ranges.get("layers") or ()
    kept = set(ranges.get("kept_fp32") or ())
    rescaled = (ranges.get("rescaled") or {}).get("channels") or 0
    if not ranges.get("measured_on"):
        return [tag("p", code(one.get("path")), f": not measured: {ranges.get('why_not')}")]
    said = (
        f": {ranges.get('count')} {ranges.get('measured_on')}, {rescaled} channels rescaled, "
        f"{len(kept)} nodes kept in float32"
    )
    warnings = [tag("li", warning) for warning in ranges.get("warnings") or ()]
    rows = [
        (
            code(layer.get("name")),
            layer.get("operator", NONE),
            number(layer.get("low")),
            number(layer.get("high")),
            number(layer.get("typical"), ".2g"),
            number(layer.get("before")),
            badge("float32", "wait") if layer.get("name") in kept else "float16",
        )
        for layer in layers
    ]
    headers = (
        "layer",
        "operator",
        "smallest#",
        "largest#",
        "typical#",
        "before rescaling#",
        "kept as",
    )
    return [
        tag("p", code(one.get("path")), said),
        *([tag("ul", *warnings, class_="notes")] if warnings else []),
        folded(f"All {len(rows)} results", html_table(headers, rows)),
    ]

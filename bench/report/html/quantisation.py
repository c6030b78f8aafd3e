"""The report's section on eight bits: a bar a layer, plain beside the recipe that was taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgerep.bench.report.html.markup import Markup
from edgerep.bench.report.html.parts import Fields, folded, html_table, number, section
from edgerep.bench.report.html.plots import bar_plot

_PLAIN = "plain"


def quantisation_section(artefacts: Sequence[Fields]) -> Markup | None:
    """What was done to the graphs of eight bits among some artefacts; None where there are none."""
    found = list(_noted(artefacts))
    if not found:
        return None
    return section(
        "INT8",
        "Signal to quantisation noise of each layer's output, against the float graph on held-out "
        "images: by plain rounding, and by the recipe that was taken. Higher is better; a layer "
        "holds what the layers before it lost, too.",
        *(part for noted in found for part in _parts(noted)),
    )


def _noted(artefacts: Sequence[Fields]) -> Iterator[Fields]:
    """What each graph of eight bits notes of itself, once."""
    seen: list[object] = []
    for one in artefacts:
        sources = one.get("made_from") or ()
        notes = [one.get("int8"), *((s.get("options") or {}).get("int8") for s in sources)]
        for noted in notes:
            if isinstance(noted, Mapping) and noted.get("layers") and noted not in seen:
                seen.append(noted)
                yield noted


def _parts(noted: Fields) -> Iterator[Markup]:
    chosen = str(noted.get("chosen"))
    stages = [_PLAIN] if chosen == _PLAIN else [_PLAIN, chosen]
    layers: Sequence[Fields] = noted["layers"]
    figures = {stage: [_figure(one, stage) for one in layers] for stage in stages}
    if any(value is not None for values in figures.values() for value in values):
        yield bar_plot([str(one.get("name")) for one in layers], figures,
                       "signal to noise, dB")  # fmt: skip
    candidates: Sequence[Fields] = noted.get("candidates") or ()
    yield html_table(
        ("candidate", "SQNR dB#", "worst part dB#", "answered alike#", "taken"),
        [
            (
                str(one.get("name")),
                number(one.get("sqnr_db"), ".1f"),
                number(one.get("worst_db"), ".1f"),
                number(one.get("agreement"), ".1%"),
                "yes" if one.get("name") == chosen else "",
            )
            for one in candidates
        ],
    )
    for title, reasons in (("In floating point", "kept"), ("Not equalised", "not_equalised")):
        named: Mapping[str, object] = noted.get(reasons) or {}
        if named:
            rows = [(name, str(why)) for name, why in named.items()]
            yield folded(f"{title}: {len(named)}", html_table(("what", "why"), rows))


def _figure(layer: Fields, stage: str) -> float | None:
    value = (layer.get("sqnr_db") or {}).get(stage)
    return float(value) if isinstance(value, int | float) else None

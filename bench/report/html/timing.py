"""The report's sections on speed and memory."""

from __future__ import annotations

from collections.abc import Sequence

from edgerep.bench.report.html.markup import Child, Markup, join, tag
from edgerep.bench.report.html.parts import (
    NONE,
    Fields,
    badge,
    code,
    facts,
    folded,
    html_table,
    number,
    plain,
    section,
    size_text,
    words,
)
from edgerep.bench.report.html.plots import forest_plot, strip_plot


def bench_section(bench: Fields) -> Markup:
    cases = bench.get("cases", ())
    ratios = bench.get("ratios", ())
    drawn = [case for case in cases if case.get("samples_ms")]
    warnings = bench.get("warnings", ())
    return section(
        "Benchmark",
        "Wall-clock latency of one inference after another, cases taking turns in random order. "
        "A verdict is given only where the 95 % interval of the ratio of medians leaves 1 out.",
        tag("ul", *(tag("li", warning) for warning in warnings), class_="warnings")
        if warnings
        else None,
        join(tag("h3", "What was gained"), forest_plot(ratios), _ratio_table(ratios))
        if ratios
        else None,
        join(tag("h3", "Latency: every sample, p10 to p90, median"), strip_plot(drawn))
        if drawn
        else None,
        _case_table(cases),
        _methods(cases),
    )


def environment_section(environment: Fields, settings: Fields) -> Markup:
    shown: dict[str, Child] = {
        words(name): size_text(value) if name.endswith("_bytes") else plain(value)
        for name, value in environment.items()
        if value not in (None, [], {})
    }
    return section(
        "Environment",
        "What the benchmark ran on. No host name, user name or path is recorded.",
        facts(shown),
        folded(
            "Settings of the benchmark",
            facts({words(name): plain(value) for name, value in settings.items()}),
        )
        if settings
        else None,
    )


def _ratio_table(ratios: Sequence[Fields]) -> Markup:
    kinds = {"faster": "good", "slower": "bad"}
    return html_table(
        ("case", "over", "speed-up#", "95 % interval#", "verdict"),
        [
            (
                code(ratio.get("of")),
                code(ratio.get("over")),
                f"{number(ratio.get('ratio'), '.2f')}x",
                " to ".join(number(end, ".2f") for end in ratio.get("ci95", ())),
                badge(ratio.get("verdict", NONE), kinds.get(str(ratio.get("verdict")), "")),
            )
            for ratio in ratios
        ],
    )


def _case_table(cases: Sequence[Fields]) -> Markup:
    rows = []
    for case in cases:
        memory = case.get("memory") or {}
        rows.append(
            (
                code(case.get("key")),
                *(number(case.get(name), ".3f") for name in ("p50_ms", "p90_ms", "p99_ms")),
                number(case.get("throughput_per_s"), ".1f"),
                *(size_text(memory.get(f"{name}_bytes")) for name in ("weights", "peak")),
                number(len(case.get("samples_ms", ())), "d"),
            )
        )
    headers = ("case", "p50 ms#", "p90 ms#", "p99 ms#", "images/s#", "weights#", "peak memory#",
               "samples#")  # fmt: skip
    return html_table(headers, rows)


def _methods(cases: Sequence[Fields]) -> Markup | None:
    how = dict.fromkeys(memory["how"] for case in cases if (memory := case.get("memory")))
    notes = [*how, "p99 is shown from 662 samples on, the fewest that bound it"]
    return join(*(tag("p", f"{note}.", class_="note") for note in notes)) if cases else None

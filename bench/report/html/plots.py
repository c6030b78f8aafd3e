"""Small plots as inline SVG: latencies as strips, speed-ups with their intervals, and bars."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from edgerep.bench.report.html.markup import Markup, tag

_WIDTH = 880.0  # of the whole plot, in SVG units, like all lengths here
_LABELS = 300.0  # left of the axis
_RIGHT = 64.0  # for the numbers right of the axis
_ROW = 34.0
_TALL_ROW = 44.0  # holds two lines
_TOP = 10.0
_AXIS = 34.0  # below the rows
_MAX_DOTS = 400  # drawn for one case; the quantiles are computed from all its samples


def strip_plot(cases: Sequence[Mapping[str, Any]]) -> Markup:
    """One row per case: every sample a dot, the median a line, p10 to p90 a band."""
    top = max(_order_statistic(case["samples_ms"], 0.99) for case in cases) * 1.05
    ticks = _ticks(0, top)
    scale = _Scale(0, max(top, ticks[-1]))
    rows = [
        _strip_row(case, index, scale, len(case["samples_ms"])) for index, case in enumerate(cases)
    ]
    return _svg(
        "Latency of every timed inference",
        _ROW * len(cases),
        [
            _axis(scale, ticks, _ROW * len(cases), "latency, ms (slowest 1 % may lie outside)"),
            *rows,
        ],
    )


def forest_plot(ratios: Sequence[Mapping[str, Any]]) -> Markup:
    """One row per ratio: a square at the estimate, a line over its 95 % interval, a rule at 1."""
    low = min(1.0, *(ratio["ci95"][0] for ratio in ratios))
    high = max(1.0, *(ratio["ci95"][1] for ratio in ratios))
    margin = max((high - low) * 0.08, 0.02)
    scale = _Scale(max(0.0, low - margin), high + margin)
    ticks = _ticks(scale.low, scale.high)
    unity = tag(
        "line", class_="unity", x1=scale(1), x2=scale(1), y1=_TOP, y2=_TOP + _TALL_ROW * len(ratios)
    )
    rows = [_forest_row(ratio, index, scale) for index, ratio in enumerate(ratios)]
    return _svg(
        "Speed-ups with 95 % intervals",
        _TALL_ROW * len(ratios),
        [
            _axis(scale, ticks, _TALL_ROW * len(ratios), "speed-up (right of 1 is faster)"),
            unity,
            *rows,
        ],
    )


def bar_plot(
    names: Sequence[str], figures: Mapping[str, Sequence[float | None]], title: str
) -> Markup:
    """One row per name: a bar for each series, the first in grey, the last in colour.

    Args:
        names: Of the rows.
        figures: By the name of a series, a number for each row; None where there is none.
        title: Of the axis, and of the drawing.
    """
    known = [value for values in figures.values() for value in values if value is not None]
    low = min(0.0, *known)
    scale = _Scale(low, max(known) * 1.02 if max(known) > 0 else 1.0)
    rows = [
        _bar_row(name, index, scale, {series: values[index] for series, values in figures.items()})
        for index, name in enumerate(names)
    ]
    height = _ROW * len(names)
    ticks = _ticks(scale.low, scale.high)
    legend = f"{title} ({' above, '.join(figures)}{' below' if len(figures) > 1 else ''})"
    return _svg(title, height, [_axis(scale, ticks, height, legend), *rows])


class _Scale:
    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high if high > low else low + 1

    def __call__(self, value: float) -> float:
        """Horizontal position, clamped to the axis."""
        share = (value - self.low) / (self.high - self.low)
        return _LABELS + min(max(share, 0.0), 1.0) * (_WIDTH - _LABELS - _RIGHT)


def _strip_row(case: Mapping[str, Any], index: int, scale: _Scale, count: int) -> Markup:
    middle = _TOP + _ROW * (index + 0.5)
    samples = [sample for sample in case["samples_ms"] if sample <= scale.high]
    jitter = random.Random(0)  # vertical, so that equal samples do not hide each other
    low, high = (scale(_order_statistic(case["samples_ms"], q)) for q in (0.1, 0.9))
    dots = [
        tag("circle", cx=scale(sample), cy=middle + jitter.uniform(-8, 8), r=2)
        for sample in samples[:: math.ceil(len(samples) / _MAX_DOTS)]
    ]
    median = scale(case["p50_ms"])
    return tag(
        "g",
        tag("title", f"{case['key']}: median {case['p50_ms']:.3f} ms of {count} samples"),
        _label(case["key"], middle),
        tag("rect", class_="band", x=low, y=middle - 10, width=max(high - low, 1), height=20, rx=3),
        *dots,
        tag("line", class_="median", x1=median, x2=median, y1=middle - 12, y2=middle + 12),
        _number(f"{case['p50_ms']:.2f}", middle),
        class_=f"strip {_form_class(case['form'])}",
    )


def _forest_row(ratio: Mapping[str, Any], index: int, scale: _Scale) -> Markup:
    middle = _TOP + _TALL_ROW * (index + 0.5)
    low, high = (scale(end) for end in ratio["ci95"])
    kind = {"faster": "good", "slower": "bad"}.get(ratio["verdict"], "even")
    return tag(
        "g",
        tag("title", f"{ratio['of']} over {ratio['over']}: {ratio['ratio']:.3f}"),
        _label(ratio["of"], middle - 6),
        _label(f"over {ratio['over']}", middle + 8, "faint"),
        tag("line", class_="interval", x1=low, x2=high, y1=middle, y2=middle),
        *(
            tag("line", class_="interval", x1=end, x2=end, y1=middle - 5, y2=middle + 5)
            for end in (low, high)
        ),
        tag("rect", x=scale(ratio["ratio"]) - 5, y=middle - 5, width=10, height=10),
        _number(f"{ratio['ratio']:.2f}x", middle),
        class_=f"forest {kind}",
    )


def _bar_row(name: str, index: int, scale: _Scale, values: Mapping[str, float | None]) -> Markup:
    middle = _TOP + _ROW * (index + 0.5)
    thick = (_ROW - 10) / len(values)
    shown = {series: value for series, value in values.items() if value is not None}
    bars = []
    for at, value in enumerate(values.values()):
        if value is not None:
            start, end = sorted((scale(0.0), scale(value)))
            kind = "last" if at == len(values) - 1 else "first"
            y = middle - (_ROW - 10) / 2 + at * thick
            bars.append(
                tag("rect", class_=kind, x=start, y=y, width=max(end - start, 1), height=thick - 1)
            )
    said = ", ".join(f"{series} {value:.1f}" for series, value in shown.items())
    last = next(reversed(shown.values()), None)
    return tag(
        "g",
        tag("title", f"{name}: {said or 'nothing is known'}"),
        _label(name, middle),
        *bars,
        _number("-" if last is None else f"{last:.1f}", middle),
        class_="bars",
    )


def _form_class(form: str) -> str:
    return form if form in ("fused", "unfused", "unfused-folded") else "other"


def _label(text: str, y: float, kind: str | None = None) -> Markup:
    most = 48
    short = text if len(text) <= most else f"{text[: most - 1]}…"
    return tag("text", short, class_=kind, x=_LABELS - 12, y=y + 4, text_anchor="end")


def _number(text: str, y: float) -> Markup:
    return tag("text", text, class_="number", x=_WIDTH - _RIGHT + 10, y=y + 4)


def _axis(scale: _Scale, ticks: Sequence[float], rows_height: float, title: str) -> Markup:
    bottom = _TOP + rows_height
    marks = []
    for tick in ticks:
        x = scale(tick)
        marks.append(tag("line", class_="grid", x1=x, x2=x, y1=_TOP, y2=bottom))
        marks.append(tag("text", f"{tick:g}", x=x, y=bottom + 15, text_anchor="middle"))
    centre = (_LABELS + _WIDTH - _RIGHT) / 2
    marks.append(tag("text", title, class_="faint", x=centre, y=bottom + 30, text_anchor="middle"))
    return tag("g", *marks, class_="axis")


def _svg(title: str, rows_height: float, children: Sequence[Markup]) -> Markup:
    height = _TOP + rows_height + _AXIS
    drawn = tag(
        "svg", tag("title", title), *children, viewBox=f"0 0 {_WIDTH:g} {height:g}", role="img"
    )
    return tag("div", drawn, class_="plot")


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers (1, 2 or 5 times a power of ten) within [low, high]."""
    rough = (high - low) / 6
    power: float = 10 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _order_statistic(samples: Sequence[float], q: float) -> float:
    """The sample that a share `q` of all does not exceed: close enough to the quantile to draw."""
    rising = sorted(samples)
    return rising[min(int(q * len(rising)), len(rising) - 1)]

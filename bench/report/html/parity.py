"""The report's section on parity: a row for an output and the batch sizes at which it agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgerep.artefacts.batches import numbers_in_words, shown_together
from edgerep.bench.report.html.markup import Markup, tag
from edgerep.bench.report.html.parts import (
    NONE,
    Fields,
    badge,
    code,
    html_table,
    number,
    section,
)


def parity_section(verify: Fields) -> Markup:
    artefacts: Sequence[Fields] = verify.get("artefacts", ())
    rows = [row for one in artefacts for row in _artefact_rows(one)]
    notes = [
        tag("li", code(one.get("path")), f": {note}")
        for one in artefacts
        for note in one.get("notes") or ()
    ]
    is_file = verify.get("reference_kind") == "onnx"
    truth = (
        "the ONNX file, not the network it was exported from," if is_file else "the unfused network"
    )
    return section(
        "Parity",
        f"Each artefact against {verify.get('reference') or 'the reference'}: {truth} in float64, "
        f"at every batch size of its profile up to 16, and beyond it at those named here. Of "
        f"several sizes that agree, the figures are those of the worst.",
        html_table(
            ("artefact", "runtime", "precision", "batch#", "max abs#", "relative L2, bound#",
             "SQNR dB#", "cosine#", "top-1#", "verdict"),
            rows,
        ),
        *([tag("ul", *notes, class_="notes")] if notes else []),
    )  # fmt: skip


def _artefact_rows(one: Fields) -> Iterator[tuple[object, ...]]:
    start = (code(one.get("path")), one.get("runtime", NONE), one.get("precision", NONE))
    if not one.get("ran"):
        yield (*start, *[NONE] * 6, badge("not run", "wait"))
    yield from _output_rows(one, start)
    for emulated in one.get("emulated") or ():
        sums = f"emulated, {emulated.get('accumulators')} sums"
        rows = _output_rows({**one, "overflow": None, **emulated}, (start[0], sums, start[2]))
        for row in rows:
            decides = emulated.get("decides") is not False
            yield row if decides else (*row[:-1], badge("for information", ""))


def _output_rows(one: Fields, start: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    several = one.get("outputs") or ()
    alone = several[:1] if "accumulators" in one else (one,)
    for output in several if len(several) > 1 else alone:
        named = code(f"{one.get('path')}: {output['name']}") if len(several) > 1 else start[0]
        tolerance = output.get("tolerance") or {}
        decidable = tolerance.get("decidable") is not False
        batches = output.get("batches", ())
        for row in shown_together([decidable and bool(one.get("passed")) for one in batches]):
            group = [batches[at] for at in row]
            worst = max(group, key=lambda batch: _rel_l2(batch.get("rel_l2")))
            yield (
                named,
                *start[1:],
                _sizes(group),
                number(worst.get("max_abs"), ".1e"),
                *_bounded(tolerance, worst),
                number(worst.get("cosine"), ".6f"),
                number(worst.get("top1_agreement"), ".1%"),
                _verdict(one, worst, decidable),
            )


def _bounded(tolerance: Fields, worst: Fields) -> tuple[str, str]:
    """Relative L2 and signal to noise, with the bound beside the one that is held to a bound."""
    off, ratio = number(worst.get("rel_l2"), ".1e"), number(worst.get("sqnr_db"), ".1f")
    if (least := tolerance.get("least_sqnr_db")) is not None:
        return off, f"{ratio} ≥ {number(least, '.1f')}" if worst.get("passed") else (
            f"{ratio}, {number(least, '.1f')} asked for"
        )
    return f"{off} of {number(tolerance.get('rel_l2'), '.1e')}", ratio


def _verdict(artefact: Fields, batch: Fields, decidable: bool) -> Markup:
    if artefact.get("overflow"):
        return badge("overflows", "bad")
    if not decidable:
        return badge("undecidable", "wait")
    return badge("agrees", "good") if batch.get("passed") else badge("disagrees", "bad")


def _sizes(group: Sequence[Fields]) -> str:
    sizes = [batch.get("batch") for batch in group]
    numbers = [size for size in sizes if isinstance(size, int)]
    return numbers_in_words(sorted(numbers)) if numbers else NONE


def _rel_l2(value: object) -> float:
    """To find the worst by: what is no number (null, for an infinity) is worse than any."""
    return value if isinstance(value, float) else float("inf")

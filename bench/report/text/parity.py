"""Parity as plain text: one line for an artefact, and the table of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from edgerep.artefacts.batches import numbers_in_words, shown_together
from edgerep.bench.parity.figures.tolerance import Tolerance
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.output_findings import BatchParity, OutputParity
from edgerep.bench.parity.report import ParityReport
from edgerep.bench.parity.words import as_exported_in_words, images_in_words, notes_of
from edgerep.bench.report.text.table import table

_SPARE = ("cosine", "SQNR dB", "top-1", "max abs")  # the first to go on a narrow terminal


def one_line(result: ArtefactParity) -> str:
    """The worst batch of an artefact, or why it was not run."""
    name = Path(result.path).name
    if not result.ran:
        return f"{name}: not run ({result.runtime}): {result.why_not}"
    shown, runtime = result.worst, result.runtime
    for one in result.emulated:
        if one.decides:
            runtime += f", {result.precision} emulated"
            if shown is None or one.worst.severity >= shown.severity:
                shown = one.worst
    if shown is None:  # an artefact that ran has outputs
        return f"{name}: nothing was compared"
    worst = max(shown.batches, key=lambda batch: _sortable(batch.difference.rel_l2))
    verdict = "OVERFLOWS" if result.overflow else _verdict(result.tolerance, result.passed)
    output = f", {shown.name}" if len(result.outputs) > 1 else ""
    images = f", {images_in_words(result)}" if result.images_given else ""
    if result.not_emulated is not None:
        runtime += ", weights rounded only"
    if shown.tolerance.least_sqnr_db is not None:
        return (
            f"{name}: {verdict} ({runtime}), {worst.difference.sqnr_db:.1f} dB and top-1 "
            f"{worst.difference.top1_agreement:.1%} beside float{output}, batch "
            f"{numbers_in_words([b.batch for b in result.batches])}{images}"
        )
    return (
        f"{name}: {verdict} ({runtime}), relative L2 {worst.difference.rel_l2:.1e} "
        f"of {shown.tolerance.rel_l2:.1e} allowed{output}, batch "
        f"{numbers_in_words([b.batch for b in result.batches])}{images}"
        + (f"; {result.overflow}" if result.overflow else "")
    )


def parity_table(report: ParityReport) -> str:
    """A row per artefact, output and batch size, then what computed each answer."""
    headers = ("artefact", "runtime", "batch", "max abs", "rel L2", "bound", "SQNR dB", "cosine",
               "top-1", "verdict")  # fmt: skip
    rows = []
    for result in report.artefacts:
        name = Path(result.path).name
        if not result.ran or result.tolerance is None:
            rows.append((name, result.runtime, *["-"] * 7, "not run"))
            continue
        for output in result.outputs:
            label = f"{name}: {output.name}" if len(result.outputs) > 1 else name
            for row in _rows(label, result.runtime, output):
                rows.append((*row[:-1], "OVERFLOWS") if result.overflow else row)
        for emulated in result.emulated:
            runtime = f"emulated, {emulated.accumulators} sums"
            for output in emulated.outputs:
                label = f"{name}: {output.name}" if len(result.outputs) > 1 else name
                for row in _rows(label, runtime, output):
                    information = "agrees" if output.passed else "differs"
                    rows.append(row if emulated.decides else (*row[:-1], f"({information})"))
    notes = []
    for result in report.artefacts:
        name = Path(result.path).name
        notes.append(f"{name}: {result.how if result.ran else f'not run: {result.why_not}'}")
        notes += [f"{name}: {note}" for note in notes_of(result)]
    figures = table(headers, rows, spare=_SPARE)
    return "\n".join([f"Against {_truth(report)}", "", figures, "", *notes])


def _sortable(number: float) -> float:
    return math.inf if math.isnan(number) else number


def _truth(report: ParityReport) -> str:
    if report.reference_kind == "onnx":
        return f"the ONNX file {report.reference} in float64, not the network it was exported from"
    otherwise = as_exported_in_words(report.reference_as_exported)
    return f"{report.reference}, unfused, in float64{otherwise}"


def _rows(label: str, runtime: str, output: OutputParity) -> list[tuple[str, ...]]:
    """A row for each batch size; of many, one for all that passed and one for each that did not."""
    batches, tolerance = output.batches, output.tolerance
    together = shown_together([tolerance.decidable and batch.passed for batch in batches])
    return [_row(label, runtime, tolerance, [batches[at] for at in row]) for row in together]


def _row(
    label: str, runtime: str, tolerance: Tolerance, group: Sequence[BatchParity]
) -> tuple[str, ...]:
    batch = max(group, key=lambda one: one.difference.rel_l2)
    found = batch.difference
    return (
        label,
        runtime,
        numbers_in_words([one.batch for one in group]),
        f"{found.max_abs:.1e}",
        f"{found.rel_l2:.1e}",
        _bound(tolerance),
        f"{found.sqnr_db:.1f}",
        f"{found.cosine:.6f}",
        f"{100 * found.top1_agreement:.1f}%",
        _verdict(tolerance, batch.passed),
    )


def _bound(tolerance: Tolerance) -> str:
    if tolerance.least_sqnr_db is not None:
        return f"{tolerance.least_sqnr_db:.1f} dB"
    return f"{tolerance.rel_l2:.1e}"


def _verdict(tolerance: Tolerance | None, passed: bool) -> str:
    if tolerance is not None and not tolerance.decidable:
        return "UNDECIDABLE"
    return "agrees" if passed else "DISAGREES"

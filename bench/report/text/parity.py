"""Parity as plain text: one line for an artefact, and the table of a report."""

from __future__ import annotations

from pathlib import Path

from edgerep.bench.parity.report import ArtefactParity, BatchParity, ParityReport, undecidable
from edgerep.bench.parity.tolerance import Tolerance
from edgerep.bench.report.text.table import table


def one_line(result: ArtefactParity) -> str:
    """The worst batch of an artefact, or why it was not run."""
    name = Path(result.path).name
    if not result.ran:
        return f"{name}: not run ({result.runtime}): {result.why_not}"
    worst = max(result.batches, key=lambda batch: batch.difference.rel_l2)
    verdict = _verdict(result.tolerance, result.passed)
    output = f", {result.worst.name}" if result.worst and len(result.outputs) > 1 else ""
    bound = result.tolerance.rel_l2 if result.tolerance else 0.0
    return (
        f"{name}: {verdict} ({result.runtime}), relative L2 {worst.difference.rel_l2:.1e} "
        f"of {bound:.1e} allowed{output}, batch {', '.join(str(b.batch) for b in result.batches)}"
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
            rows += [_row(label, result.runtime, output.tolerance, b) for b in output.batches]
    notes = []
    for result in report.artefacts:
        name = Path(result.path).name
        notes.append(f"{name}: {result.how if result.ran else f'not run: {result.why_not}'}")
        if result.tolerance is not None and not result.tolerance.decidable:
            notes.append(f"{name}: {undecidable(result.tolerance)}")
    return "\n".join([f"Against {_truth(report)}", "", table(headers, rows), "", *notes])


def _truth(report: ParityReport) -> str:
    if report.reference_kind == "onnx":
        return f"the ONNX file {report.reference} in float64, not the network it was exported from"
    return f"{report.reference}, unfused, in float64"


def _row(label: str, runtime: str, tolerance: Tolerance, batch: BatchParity) -> tuple[str, ...]:
    found = batch.difference
    return (
        label,
        runtime,
        str(batch.batch),
        f"{found.max_abs:.1e}",
        f"{found.rel_l2:.1e}",
        f"{tolerance.rel_l2:.1e}",
        f"{found.sqnr_db:.1f}",
        f"{found.cosine:.6f}",
        f"{100 * found.top1_agreement:.1f}%",
        _verdict(tolerance, batch.passed),
    )


def _verdict(tolerance: Tolerance | None, passed: bool) -> str:
    if tolerance is not None and not tolerance.decidable:
        return "UNDECIDABLE"
    return "agrees" if passed else "DISAGREES"

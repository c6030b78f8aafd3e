"""Accuracy as a plain-text table."""

from __future__ import annotations

from collections.abc import Sequence

from edgerep.bench.accuracy import Accuracy
from edgerep.bench.report.text.table import table


def accuracy_table(results: Sequence[Accuracy]) -> str:
    rows = [
        (r.form, r.runtime, r.precision, f"{r.correct} / {r.total}", f"{100 * r.top1:.2f}%")
        for r in results
    ]
    return table(("form", "runtime", "precision", "correct", "top-1"), rows)

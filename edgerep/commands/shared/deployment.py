"""What `deploy` has made so far; its JSON and its summary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgerep.artefacts.artefact import Artefact
from edgerep.artefacts.files import sha256_of, size_of
from edgerep.artefacts.kinds import SCHEMA
from edgerep.artefacts.records import read_record, utc_now
from edgerep.bench.accuracy import Accuracy
from edgerep.bench.parity.report import ParityReport
from edgerep.bench.report.text.accuracy import accuracy_table
from edgerep.bench.report.text.parity import parity_table
from edgerep.bench.report.text.timing import bench_tables
from edgerep.bench.timing.cases import BenchResult
from edgerep.commands.shared.console import Console
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.fusion.fused import Fused

RESULT_NAME, REPORT_NAME = "deploy.json", "report.html"  # in the folder of a deployment


@dataclass(frozen=True, eq=False)
class Deployment:
    """What `deploy` has made so far, in the order of making; its lists grow.

    Attributes:
        folder: Where everything is written.
        artefacts: What was made.
        skipped: What was not made, `what`, and `why`.
        stages: `name` of each stage that has ended, and its `seconds`.
    """

    folder: Path
    artefacts: list[Artefact] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside the block; a stage that fails is not listed."""
        started = time.perf_counter()
        yield
        self.stages.append({"name": name, "seconds": round(time.perf_counter() - started, 3)})

    def withdraw_report(self) -> None:
        """Remove an earlier deployment's report: it says nothing of what is about to be written."""
        for name in (RESULT_NAME, REPORT_NAME):
            with contextlib.suppress(OSError):  # a folder, say: writing refuses it in words
                (self.folder / name).unlink(missing_ok=True)

    def skip(self, console: Console, stage: str, what: str, why: str) -> None:
        self.skipped.append({"what": what, "why": why})
        console.progress(stage, f"{what}: not made: {why}")


def deployment_json(
    source: str,
    fused: Fused,
    deployment: Deployment,
    report: ParityReport | None,
    accuracies: list[Accuracy],
    timed: BenchResult | None,
    precisions: tuple[str, ...],
    wanted: GraphOptions,
) -> dict[str, Any]:
    """The JSON of `edgerep deploy --json` and of `deploy.json`."""
    return {
        "schema": SCHEMA,
        "passed": report.passed if report else None,
        "deploy": {
            "source": source,
            "created": utc_now(),
            "precision": list(precisions),
            "batch": str(wanted.batch),
            "model": wanted.model,
            "size": list(wanted.image_size) if wanted.image_size else None,
            "input_shapes": wanted.input_shapes,
            "input": wanted.preprocessing.input,
            "skipped": deployment.skipped,
            "stage_seconds": {one["name"]: one["seconds"] for one in deployment.stages},
        },
        "stages": deployment.stages,
        "fuse": fused.certificate.to_json() if fused.certificate else None,
        "artefacts": [
            _entry(path)
            for path in [deployment.folder / "fused.safetensors",
                         *(made.path for made in deployment.artefacts)]
        ],
        "verify": report.to_json() if report else None,
        "accuracy": [one.to_json() for one in accuracies],
        "bench": timed.to_json() if timed else None,
    }  # fmt: skip


def _entry(path: Path) -> dict[str, Any]:
    record = read_record(path)
    return {
        "path": path.name,
        "kind": record.kind if record else "",
        "size_bytes": size_of(path),
        "sha256": sha256_of(path),
        "made_from": [dict(entry) for entry in record.made_from] if record else [],
    }


def deployment_text(
    report: ParityReport | None,
    accuracies: list[Accuracy],
    timed: BenchResult | None,
    deployment: Deployment,
) -> str:
    """What `edgerep deploy` prints at its end: parity, accuracy, the bench, and the files made."""
    parts = []
    if report is not None:
        parts.append("Parity\n\n" + parity_table(report))
    if accuracies:
        parts.append("Accuracy\n\n" + accuracy_table(accuracies))
    if timed is not None:
        parts.append("Bench\n\n" + bench_tables(timed))
    made = ", ".join(sorted(path.name for path in deployment.folder.iterdir()))
    parts.append(f"{deployment.folder}: {made}")
    return "\n\n\n".join(parts)

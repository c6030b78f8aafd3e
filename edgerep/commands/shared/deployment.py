"""What `deploy` has made so far, and what became of each target; its JSON and its summary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
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
from edgerep.bench.report.text.table import table
from edgerep.bench.report.text.timing import bench_tables
from edgerep.bench.timing.cases import BenchResult
from edgerep.commands.shared.console import Console
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.commands.shared.option_values import TARGETS
from edgerep.errors import EdgerepError, MissingRuntimeError
from edgerep.fusion.fused import Fused

WEIGHTS_NAME, RESULT_NAME, REPORT_NAME = "fused.safetensors", "deploy.json", "report.html"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target in one precision.

    Attributes:
        target: "onnx", "engine" or "coreml".
        precision: "fp32", ...
        path: The name of its file in the folder.
        state: "made", "refused" (the network or the graph is not for this target) or "missing"
            (what makes it is not installed here).
        why: Why it was not made; None where it was.
    """

    target: str
    precision: str
    path: str
    state: str
    why: str | None = None


@dataclass(frozen=True, eq=False)
class Deployment:
    """What `deploy` has made so far, in the order of making; its lists grow.

    Attributes:
        folder: Where everything is written.
        artefacts: What was made and stays.
        outcomes: Of every target that was asked for.
        failures: Of stages after the making: `stage` and `why`.
        stages: `name` of each stage that has ended, and its `seconds`.
    """

    folder: Path
    artefacts: list[Artefact] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
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

    @contextmanager
    def tolerated(self, name: str, console: Console) -> Iterator[None]:
        """As `stage`, but what edgerep refuses in there is a row of the report, not its end."""
        try:
            with self.stage(name):
                yield
        except EdgerepError as error:
            self.failures.append({"stage": name, "why": str(error)})
            console.progress(name, f"failed: {error}")

    def made(self, artefact: Artefact, target: str, precision: str) -> None:
        self.artefacts.append(artefact)
        self.outcomes.append(Outcome(target, precision, artefact.path.name, "made"))

    def not_made(
        self, console: Console, target: str, precision: str, path: Path, error: EdgerepError
    ) -> None:
        """Note that a target was not made, and say why."""
        state = "missing" if isinstance(error, MissingRuntimeError) else "refused"
        why = str(error)
        if path.exists():
            why += f" (the {path.name} in the folder is from an earlier run)"
        self.outcomes.append(Outcome(target, precision, path.name, state, why))
        console.progress(target, f"{path.name}: not made: {why}")

    def lacking(self, targets: Sequence[str]) -> list[Outcome]:
        """The outcomes of these targets that were not made."""
        return [one for one in self.outcomes if one.target in targets and one.state != "made"]


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
            "skipped": [
                {"what": one.path, "why": one.why}
                for one in deployment.outcomes if one.state != "made"
            ],
            "stage_seconds": {one["name"]: one["seconds"] for one in deployment.stages},
        },
        "targets": [asdict(one) for one in deployment.outcomes],
        "failures": deployment.failures,
        "stages": deployment.stages,
        "fuse": fused.certificate.to_json() if fused.certificate else None,
        "artefacts": [
            _entry(path)
            for path in [deployment.folder / WEIGHTS_NAME,
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
        "range": record.options.get("range") if record else None,
        "int8": record.options.get("int8") if record else None,
    }


def deployment_text(
    report: ParityReport | None,
    accuracies: list[Accuracy],
    timed: BenchResult | None,
    deployment: Deployment,
) -> str:
    """What `edgerep deploy` prints at its end: targets, parity, accuracy, bench, and a verdict."""
    parts = []
    rows = [
        (one.target, one.precision, one.path, "made" if one.state == "made" else "not made")
        for one in deployment.outcomes
    ]
    whys = [f"{one.path}: {one.state}: {one.why}" for one in deployment.outcomes if one.why]
    made = table(("target", "precision", "file", "result"), rows)
    parts.append("\n".join(["Targets\n", made, *([""] if whys else []), *whys]))
    if report is not None:
        parts.append("Parity\n\n" + parity_table(report))
    if accuracies:
        parts.append("Accuracy\n\n" + accuracy_table(accuracies))
    if timed is not None:
        parts.append("Bench\n\n" + bench_tables(timed))
    if deployment.failures:
        failed = [(one["stage"], one["why"]) for one in deployment.failures]
        parts.append("Failed\n\n" + table(("stage", "why"), failed))
    parts.append(_last_line(report, deployment))
    return "\n\n\n".join(parts)


def _last_line(report: ParityReport | None, deployment: Deployment) -> str:
    """What is in the folder, and all that the reader must not take for checked."""
    made = ", ".join(made.path.name for made in deployment.artefacts) or "no target"
    said = [f"{deployment.folder}: {WEIGHTS_NAME}, {made}; {REPORT_NAME}"]
    if lacking := [one.path for one in deployment.outcomes if one.state != "made"]:
        said.append(f"not made: {', '.join(lacking)}")
    if report is None:
        said.append("not compared")
    else:
        disagree = [Path(a.path).name for a in report.artefacts if a.ran and not a.passed]
        waiting = [Path(a.path).name for a in report.artefacts if not a.ran]
        if disagree:
            said.append(f"DISAGREES: {', '.join(disagree)}")
        elif report.ran:
            said.append("all that ran here agrees")
        if waiting:
            said.append(f"not run here: {', '.join(waiting)}")
    return "; ".join(said)


def deployment_code(
    deployment: Deployment, report: ParityReport | None, required: Sequence[str]
) -> int:
    """Exit code of `deploy`.

    1 where what ran disagrees; 3 where a stage failed, or what is required (or everything) was
    refused; 4 where what makes it is missing; else 0.
    """
    if report is not None and report.ran and not report.passed:
        return 1
    lacking = deployment.lacking(required if deployment.artefacts else TARGETS)
    if any(one.state == "refused" for one in lacking) or deployment.failures:
        return EdgerepError.exit_code
    return MissingRuntimeError.exit_code if lacking else 0

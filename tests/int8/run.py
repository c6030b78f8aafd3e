"""Quantise trained networks, healthy and stressed, and hold what comes out to the gates.

    cd tests && python -m int8.run [-o RESULT.json] [--quick] [--only WORD] [--modelopt PYTHON]

which `make bench-int8` does. The result is written after every row. The exit status is 1 when a
gate is missed. Plain INT8, which the recipe is held against, is ONNX Runtime's `quantize_static`,
per channel, MinMax.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from edgerep.artefacts.files import write_text
from edgerep.bench.machine.environment import environment
from edgerep.bench.report.text.table import table
from int8.cases import CASES, Case
from int8.costs import NETWORKS, cost_of
from int8.gates import PLAIN, RECIPE, Gate, gates_of
from int8.judging import judge, logits_of
from int8.ours import activations_alone, plain, recipe
from int8.peers import Quantiser, peers
from int8.subjects import SUBJECTS, Subject

QUICK_IMAGES = 500
TRAINED_WITHIN = {"repvgg": (80, 95), "mixed": (80, 95)}  # percent of the test images
NO_MODELOPT = "no Python that has nvidia-modelopt was named: --modelopt"


@dataclass
class Result:
    """What was found so far."""

    networks: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    costs: list[dict[str, Any]]

    @property
    def gates(self) -> list[Gate]:
        return list(gates_of(self.networks, self.rows, self.costs))


def rows_of(
    case: Case, subject: Subject, methods: dict[str, Quantiser | None], folder: Path, threads: int
) -> Iterator[dict[str, Any]]:
    """A row for each method; one that fails says why."""
    source, target = folder / "float.onnx", folder / "int8.onnx"
    model = onnx.load(subject.graph.path)
    onnx.save(case.stress(model) if case.stress else model, source)
    graph = replace(subject.graph, path=source)
    images = subject.calibration[: case.images]
    reference = logits_of(source, subject.test, threads=threads)
    about = {"case": case.name, "network": case.network, "calibration_images": len(images)}
    for method, quantise in methods.items():
        row: dict[str, Any] = {**about, "method": method}
        started = time.perf_counter()
        try:
            target.unlink(missing_ok=True)
            if method == RECIPE:
                said = recipe(graph, case.bits, target, images)
                row["recipe"] = {key: said[key] for key in said if key != "layers"}
            elif case.bits != 8:
                plain(graph, case.bits, target, images)
            elif quantise is None:
                raise RuntimeError(NO_MODELOPT)
            else:
                quantise(source, target, images)
            row["seconds"] = round(time.perf_counter() - started, 2)
            answers = logits_of(target, subject.test, threads=threads)
            row |= {
                name: round(value, 4)
                for name, value in asdict(judge(answers, reference, subject.labels)).items()
            }
        except Exception as error:  # a peer may refuse a graph: that is its result
            row["not_run"] = f"{type(error).__name__}: {error}"
        yield row


def methods_for(case: Case, modelopt: Path | None) -> dict[str, Quantiser | None]:
    if case.bits != 8:
        return {PLAIN: None, RECIPE: None}
    known = peers(modelopt)
    chosen: dict[str, Quantiser | None] = {
        name: quantise
        for name, quantise in known.items()
        if case.all_peers or not name.startswith("modelopt")
    }
    if case.all_peers and modelopt is None:
        chosen["modelopt"] = None
    if case.all_peers:
        chosen["activations alone"] = activations_alone
    return {**chosen, RECIPE: None}


def float_row(subject: Subject, threads: int) -> dict[str, Any]:
    answers = logits_of(subject.graph.path, subject.test, threads=threads)
    return {
        "network": subject.name,
        "top1": round(100 * float((answers.argmax(1) == subject.labels).mean()), 4),
        "test_images": len(subject.test),
        "within": TRAINED_WITHIN.get(subject.name),
    }


def run(options: argparse.Namespace, folder: Path) -> Iterator[Result]:
    """The result so far, after every row."""
    found = Result([], [], [])
    wanted = [case for case in CASES if options.only in case.name]
    for network in dict.fromkeys(case.network for case in wanted):
        subject = SUBJECTS[network](folder)
        if options.quick:
            subject = replace(
                subject, test=subject.test[:QUICK_IMAGES], labels=subject.labels[:QUICK_IMAGES]
            )
        found.networks.append(float_row(subject, options.threads))
        yield found
        for case in wanted:
            if case.network != network:
                continue
            methods = methods_for(case, options.modelopt)
            for row in rows_of(case, subject, methods, folder, options.threads):
                found.rows.append(row)
                say(f"{row['case']}, {row['method']}: {words_of(row)}")
                yield found
    for network in NETWORKS if not options.quick else NETWORKS[:1]:
        if options.only in f"cost of {network}":
            say(f"cost of {network}: in a process of its own")
            cost = cost_of(network, images=options.cost_images, size=224, threads=2)
            found.costs.append(cost)
            say(f"cost of {network}: {cost}")
            yield found


def words_of(row: dict[str, Any]) -> str:
    if "not_run" in row:
        return f"not run: {row['not_run'][:300]}"
    return (
        f"drop {row['drop']:.2f}, agreement {row['agreement']:.2f} %, "
        f"SQNR {row['sqnr_db']:.1f} dB, {row['seconds']:.0f} s"
    )


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def tables_of(found: Result) -> str:
    """For people: every row, the costs, the gates."""
    parts = []
    if found.rows:
        names = ("drop", "agreement", "sqnr_db", "seconds")
        parts.append(
            table(
                ("case", "method", "drop", "agreement %", "SQNR dB", "s"),
                [_cells(r, (r["case"], r["method"]), names) for r in found.rows],
            )
        )
    if found.costs:
        fields = ("seconds", "quantise_seconds", "cpu_seconds", "peak_gb", "sqnr_db")
        lines = [
            _cells(r | {"peak_gb": r.get("peak_bytes", 0) / 1e9}, (r["network"],), fields)
            for r in found.costs
        ]
        heads = ("network", "s", "of which int8", "CPU s", "peak GB", "SQNR dB")
        parts.append(table(heads, lines))
    gates = [
        (gate.name, f"{gate.value:.2f}", f"{'≥' if gate.at_least else '≤'} {gate.bound:g}",
         "kept" if gate.kept else "MISSED")
        for gate in found.gates
    ]  # fmt: skip
    parts.append(table(("gate", "value", "bound", ""), gates))
    return "\n\n".join(parts)


def _cells(row: dict[str, Any], first: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    if "not_run" in row:
        return (*first, "not run", *[""] * (len(names) - 1))
    return (*first, *(f"{row[name]:.2f}" for name in names))


def document_of(found: Result, options: argparse.Namespace, *, done: bool) -> dict[str, Any]:
    return {
        "schema": 1,
        "environment": environment(),
        "quick": options.quick,
        "only": options.only,
        "threads": options.threads,
        "done": done,
        "networks": found.networks,
        "rows": found.rows,
        "costs": found.costs,
        "gates": [gate.json() for gate in found.gates],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="INT8 on trained networks, held to gates.")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--quick", action="store_true", help=f"on {QUICK_IMAGES} test images")
    parser.add_argument("--only", default="", help="cases whose names have this in them")
    parser.add_argument("--threads", type=int, default=1, help="to judge with")
    parser.add_argument("--modelopt", type=Path, help="a Python that has nvidia-modelopt")
    parser.add_argument("--cost-images", type=int, default=256)
    options = parser.parse_args()
    found = Result([], [], [])
    with tempfile.TemporaryDirectory() as folder:
        for found in run(options, Path(folder)):
            if options.output:
                document = document_of(found, options, done=False)
                write_text(options.output, json.dumps(document, indent=1) + "\n")
    if options.output:
        write_text(
            options.output, json.dumps(document_of(found, options, done=True), indent=1) + "\n"
        )
    print(tables_of(found))
    missed = [gate for gate in found.gates if not gate.kept]
    print(f"\n{len(found.gates) - len(missed)} gates kept, {len(missed)} missed")
    return 1 if missed or not found.gates else 0


if __name__ == "__main__":
    sys.exit(main())

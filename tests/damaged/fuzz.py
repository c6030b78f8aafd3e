"""`make fuzz`: thousands of damaged files, each read in a process of its own within bounds.

Every process is a fork of this one, which has imported what the commands import and run none of it.
It may take 2 GiB of address space beyond what it has at its start, and the file's own size, and a
minute of CPU time. Exit code 1 where a command did not behave.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from damaged.cases import Case, make_case
from damaged.judging import Outcome, fault_of, run_case

_SPARE = 2 << 30  # bytes
_CPU_SECONDS = 60
_WALL_SECONDS = 600
_IMPORTED = (
    "onnxruntime", "edgerep.commands.verify", "edgerep.commands.inspect", "edgerep.commands.fuse",
    "edgerep.commands.report", "edgerep.commands.export_onnx", "edgerep.commands.export_coreml",
    "edgerep.bench.parity.verification", "edgerep.export.coreml.conversion",
    "edgerep.export.from_torch.onnx_export", "edgerep.bench.sessions.coreml_session",
    "edgerep.bench.report.html.page", "edgerep.export.engine.building",
    "edgerep.commands.shared.checking", "edgerep.commands.shared.stages",
)  # fmt: skip


def run_apart(case: Case) -> tuple[str | None, dict[str, Any]]:
    """Run a case in a fork of this process; what is wrong with it, and what it took."""
    with tempfile.TemporaryFile("w+") as answer:
        child = os.fork()
        if not child:
            _in_child(case, answer.fileno())
        started = time.monotonic()
        while True:
            done, status, used = os.wait4(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() - started > _WALL_SECONDS:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.005)
        answer.seek(0)
        text = answer.read()
    cost = {"cpu_s": round(used.ru_utime + used.ru_stime, 3), "peak_mib": used.ru_maxrss >> 10}
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"killed by {signal.Signals(number).name}", cost
    fields = json.loads(text)
    return fault_of(case, Outcome(fields["code"], fields["output"])), {
        **cost,
        "code": fields["code"],
    }


def _in_child(case: Case, answer: int) -> None:
    own = case.file.stat().st_size if case.file.is_file() else 0
    spare = _SPARE + min(own, _SPARE)
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + spare, size + spare))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    outcome = run_case(case)
    os.write(
        answer, json.dumps({"code": outcome.code, "output": outcome.output[-50_000:]}).encode()
    )
    os._exit(0)


def fuzz(
    numbers: range, seed: int, corpus: Path, keep: Path | None, jobs: int = 1
) -> dict[str, Any]:
    """Run the cases of these numbers, `jobs` at a time; what went wrong, and how the rest ended."""
    workers = []
    for worker in range(jobs):
        answer = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open until its worker has ended
        child = os.fork()
        if not child:
            json.dump(_fuzz_some(numbers[worker::jobs], seed, corpus, keep), answer)
            answer.flush()
            os._exit(0)
        workers.append((child, answer))
    found = []
    for child, answer in workers:
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"a worker ended with status {status}")
        answer.seek(0)
        found.append(json.load(answer))
        answer.close()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for one in found:
        for kind, ended in one["kinds"].items():
            counts[kind].update(ended)
    return {
        "kinds": {kind: dict(sorted(ended.items())) for kind, ended in sorted(counts.items())},
        "faults": sorted((f for one in found for f in one["faults"]), key=lambda f: f["case"]),
        "slowest_cpu_s": max(one["slowest_cpu_s"] for one in found),
        "largest_peak_mib": max(one["largest_peak_mib"] for one in found),
    }


def _fuzz_some(numbers: range, seed: int, corpus: Path, keep: Path | None) -> dict[str, Any]:
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    faults = []
    slowest = largest = 0.0
    for done, number in enumerate(numbers, 1):
        with tempfile.TemporaryDirectory(prefix="edgerep-fuzz-") as name:
            folder = Path(name)
            case = make_case(number, seed, corpus, folder)
            fault, cost = run_apart(case)
            kind = case.kind.removesuffix(" again")
            counts[kind]["files"] += 1
            counts[kind]["faults" if fault else f"exit {cost['code']}"] += 1
            slowest, largest = max(slowest, cost["cpu_s"]), max(largest, cost["peak_mib"])
            if fault:
                faults.append({"case": number, "words": [*case.words], "fault": fault})
                print(f"{case.name}: {fault}\n  {' '.join(case.words)}", flush=True)
                if keep is not None:
                    shutil.copytree(folder, keep / str(number), symlinks=True, dirs_exist_ok=True)
        if done % 100 == 0:
            print(f"{done} of {len(numbers)}, {len(faults)} faults", file=sys.stderr, flush=True)
    return {
        "kinds": counts,
        "faults": faults,
        "slowest_cpu_s": slowest,
        "largest_peak_mib": int(largest),
    }


def summary_table(result: dict[str, Any]) -> str:
    """A recorded result as the table of the docs: the files of each kind, and how they ended."""
    rows = ["| kind | files | read (exit 0) | a check failed (1) | refused (2, 3) | not run (4) |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    for kind, found in result["kinds"].items():
        ended = [found.get(f"exit {code}", 0) for code in range(5)]
        cells = (found["files"], ended[0], ended[1], ended[2] + ended[3], ended[4])
        rows.append(f"| {kind} | {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--corpus", type=Path, help="good files; made where they are not there")
    parser.add_argument("--keep", type=Path, help="a folder for the files that had a fault")
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgerep-corpus-") as name:
        corpus = options.corpus or Path(name)
        script = Path(__file__).with_name("corpus.py")
        subprocess.run([sys.executable, script, corpus], check=True)
        for module in _IMPORTED:
            importlib.import_module(module)
        started = time.monotonic()
        numbers = range(options.first, options.first + options.count)
        found = fuzz(numbers, options.seed, corpus, options.keep, options.jobs)
    result = {
        "schema": 1,
        "seed": options.seed,
        "files": options.count,
        "python": platform.python_version(),
        "seconds": round(time.monotonic() - started),
        "spare_bytes": _SPARE,
        **found,
    }
    if options.output is not None:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "faults"}, indent=1))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())

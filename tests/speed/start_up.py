"""How long the commands that should be quick take, from the start of their process to its end.

python tests/speed/start_up.py [--rounds 15] [-o RESULT.json]

Processor seconds, user and system, are what a busy machine cannot stretch; on a quiet core the
wall clock shows the same. `import click` and an empty Python are there to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgerep.bench.machine.environment import environment
from edgerep.bench.report.text.table import table

ROOT = Path(__file__).parents[2]
CHECKPOINT = str(ROOT / "docs/demo/digits-repvgg.pth")
MAKING = ("inspect", "fuse", "export-onnx", "build-engine", "export-coreml", "verify", "bench",
          "deploy", "report", "doctor", "completion")  # fmt: skip
EDGEREP = ("-m", "edgerep")
COMMANDS: dict[str, tuple[str, ...]] = {
    "python -c pass": ("-c", "pass"),
    "import click": ("-c", "import click"),
    "edgerep --help": (*EDGEREP, "--help"),
    **{f"edgerep {name} --help": (*EDGEREP, name, "--help") for name in MAKING},
    "edgerep fuse --no-such-option": (*EDGEREP, "fuse", "--no-such-option"),
    "edgerep deploy no-such.pth": (*EDGEREP, "deploy", "no-such.pth", "-o", "out"),
    "edgerep verify ... no-such.onnx": (*EDGEREP, "verify", CHECKPOINT, "no-such.onnx"),
    "completion of an option": EDGEREP,
    "edgerep doctor": (*EDGEREP, "doctor"),
    "edgerep inspect CHECKPOINT": (*EDGEREP, "inspect", CHECKPOINT),
}
COMPLETING = {"_EDGEREP_COMPLETE": "bash_complete", "COMP_WORDS": "edgerep deploy --ba",
              "COMP_CWORD": "2"}  # fmt: skip


def seconds(name: str, folder: str) -> tuple[float, float]:
    """Wall seconds and processor seconds of one command in a process of its own."""
    completing = COMPLETING if name == "completion of an option" else {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *COMMANDS[name]], capture_output=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **completing},
    )  # fmt: skip
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("-o", "--output", type=Path)
    options = arguments.parse_args()
    walls: dict[str, list[float]] = {name: [] for name in COMMANDS}
    processor: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for name in COMMANDS:
            seconds(name, folder)  # fills the file cache
        for _ in range(options.rounds):
            for name in random.sample(list(COMMANDS), len(COMMANDS)):
                wall, busy = seconds(name, folder)
                walls[name].append(wall)
                processor[name].append(busy)
    rows = [
        (name, f"{statistics.median(processor[name]):.3f}", f"{statistics.median(walls[name]):.3f}")
        for name in COMMANDS
    ]
    print(table(("command", "median processor s", "median wall s"), rows))
    if options.output:
        document = {
            "schema": 1,
            "environment": environment(),
            "seconds": walls,
            "processor_seconds": processor,
        }
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()

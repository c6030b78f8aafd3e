"""How long the commands that should be quick take to start, over `python -c "import click"`.

python tests/speed/start_up.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from edgerep.bench.machine.environment import environment
from edgerep.bench.report.text.table import table

ROOT = Path(__file__).parents[2]
BASE = "import click"
COMMANDS = {
    BASE: ["-c", "import click"],
    "edgerep --help": ["-m", "edgerep", "--help"],
    "edgerep doctor": ["-m", "edgerep", "doctor"],
    "edgerep inspect CHECKPOINT": [
        "-m", "edgerep", "inspect", str(ROOT / "docs/demo/digits-repvgg.pth"),
    ],
}  # fmt: skip


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("-o", "--output", type=Path)
    options = arguments.parse_args()
    for command in COMMANDS.values():
        seconds(command)  # fills the file cache
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds):
        for name in random.sample(list(COMMANDS), len(COMMANDS)):
            times[name].append(seconds(COMMANDS[name]))
    rows = []
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, times[BASE], strict=True))
        rows.append((name, f"{statistics.median(found):.3f}", f"{ratio:.2f}"))
    print(table(("command", "median s", "over import click"), rows))
    if options.output:
        document = {"schema": 1, "environment": environment(), "seconds": times}
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()

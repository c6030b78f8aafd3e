"""Where the time goes from a checkpoint to verified artefacts: `edgerep deploy --no-bench`.

Each run is a fresh process, imports included.

    python tests/speed/whole_path.py [SOURCE] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgerep.bench.machine.environment import environment
from edgerep.bench.report.text.table import table


def deploy(source: str, size: int) -> dict[str, Any]:
    """Wall seconds of one run, and of each of its stages; `rest` is starting up and writing."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "edgerep", "deploy", source, "-o", folder, "--no-bench",
            "--size", str(size), "--json", "--quiet",
        ]  # fmt: skip
        started = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        total = time.perf_counter() - started
    result = json.loads(done.stdout)
    stages = {stage["name"]: stage["seconds"] for stage in result["stages"]}
    made = [entry["path"] for entry in result["artefacts"]]
    return {"total": total, **stages, "rest": total - sum(stages.values()), "made": made}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("source", nargs="?", default="repvgg_a0")
    arguments.add_argument("--size", type=int, default=224)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("-o", "--output", type=Path)
    options = arguments.parse_args()
    runs = [deploy(options.source, options.size) for _ in range(options.runs)]
    stages = [name for name in runs[0] if name != "made"]
    rows = [
        (name, f"{statistics.median(r[name] for r in runs):.2f}",
         f"{min(r[name] for r in runs):.2f}", f"{max(r[name] for r in runs):.2f}")
        for name in stages
    ]  # fmt: skip
    print(table(("stage", "median s", "min s", "max s"), rows))
    print(f"made: {', '.join(runs[0]['made'])}")
    if options.output:
        document = {"schema": 1, "environment": environment(), "source": options.source,
                    "size": options.size, "runs": runs}  # fmt: skip
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()

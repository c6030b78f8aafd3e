"""The command line on the GPU machine, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checkout import ROOT

DEMO = ROOT / "docs" / "demo"
KEPT_LINES = 40


def run_commands(output: Path, device: str) -> Iterator[dict[str, Any]]:
    """The result so far, after each command: exit code, seconds, its JSON and its last words."""
    made = output.resolve() / "commands"
    a0 = made / "a0"
    commands = {
        "doctor": ("doctor",),
        "deploy digits": (
            "deploy", DEMO / "digits-repvgg.pth", "-o", made / "digits", "--size", "32",
            "--batch", "1:8:32", "--input", "uint8", "--mean", "0.3059", "--std", "0.324",
            "--precision", "fp32", "--precision", "fp16", "--evaluate", DEMO / "test.npz",
            "--calibration", DEMO / "calibration.npz", "--rounds", "15",
        ),
        "build engine fp16": (
            "build-engine", "RepVGG-A0", "-o", a0 / "fp16.engine", "--batch", "1:8:32",
            "--precision", "fp16",
        ),
        "build engine fp32": ("build-engine", "RepVGG-A0", "-o", a0 / "fp32.engine",
                              "--batch", "1:8:32"),
        "inspect": ("inspect", a0 / "fp16.engine"),
        "verify": ("verify", "RepVGG-A0", a0 / "fp32.engine", a0 / "fp16.engine"),
        "bench": (
            "bench", "RepVGG-A0", a0 / "fp32.engine", a0 / "fp16.engine", "--device", device,
            "--batch", "1:8:32", "--rounds", "15",
        ),
    }  # fmt: skip
    found: dict[str, Any] = {"commands": {}}
    for name, arguments in commands.items():
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "edgerep", *map(str, arguments), "--json"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        found["commands"][name] = {
            "exit_code": done.returncode,
            "seconds": time.monotonic() - started,
            "result": _parsed(done.stdout.replace(str(ROOT), ".")),
            "said": done.stderr.replace(str(ROOT), ".").splitlines()[-KEPT_LINES:],
        }
        yield found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

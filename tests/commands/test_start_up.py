"""What needs no network is answered without loading what networks need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from command_line import ROOT
from edgerep.cli import group
from edgerep.commands.shared.options import FEWEST_ROUNDS

HEAVY = {"torch", "numpy", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "coremltools",
         "tensorrt", "tensorrt_rtx", "safetensors"}  # fmt: skip
COMMANDS = group.list_commands(click.Context(group))


def loaded_by(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, set[str]]:
    """The exit code of a command in a process of its own, and the heavy packages it loaded."""
    code = (
        "import json, sys\n"
        "from edgerep.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: sys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
    )  # fmt: skip
    modules = json.loads(done.stderr.splitlines()[-1])
    return done.returncode, {name.partition(".")[0] for name in modules} & HEAVY


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_a_wrong_option_load_nothing_heavy(command: str) -> None:
    assert loaded_by(command, "--help") == (0, set())
    assert loaded_by(command, "--no-such-option") == (2, set())


@pytest.mark.parametrize(
    "arguments",
    [
        ("fuse", "no-such.pth", "-o", "o.safetensors"),
        ("export-onnx", "no-such.pth", "-o", "o.onnx"),
        ("build-engine", "no-such.onnx", "-o", "o.engine"),
        ("export-coreml", "repvgg_a9", "-o", "o.mlpackage"),
        ("deploy", "no-such.pth", "-o", "o"),
        ("verify", "no-such.pth", "a.onnx"),
        ("verify", "repvgg_a0", "no-such.onnx"),
        ("bench", "no-such.pth"),
        ("bench", "no-such.onnx"),
        ("inspect", "no-such.pth"),
    ],
)
def test_a_missing_file_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments) == (3, set())


def test_completion_loads_nothing_heavy(tmp_path: Path) -> None:
    words = {"_EDGEREP_COMPLETE": "bash_complete", "COMP_WORDS": "edgerep deploy --ba",
             "COMP_CWORD": "2"}  # fmt: skip
    assert loaded_by(environment=words) == (0, set())


def test_the_fewest_rounds_are_those_of_the_bench() -> None:
    from edgerep.bench.timing.intervals import MIN_ROUNDS

    assert FEWEST_ROUNDS == MIN_ROUNDS


def test_doctor_looks_packages_up_without_loading_them() -> None:
    assert loaded_by("doctor") == (0, set())

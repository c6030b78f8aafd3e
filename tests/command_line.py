"""The command line, run in this process: a tenth of the time that a process of its own takes."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgerep.cli import main

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Run a command; as if it were started in `cwd`, what it imports from there is forgotten."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        contextlib.nullcontext() if cwd is None else _inside(cwd),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        pytest.raises(SystemExit) as left,
    ):
        main(list(map(str, arguments)))
    code = left.value.code
    assert isinstance(code, int)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def run_in_process(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does, in a process of its own; this checkout can be imported."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "edgerep", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def refused(code: int, *arguments: str | Path, says: str) -> None:
    """The command fails with `code`, one message, no traceback, and nothing on stdout."""
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before, path, modules = Path.cwd(), list(sys.path), set(sys.modules)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(f"{folder}{os.sep}"):
                del sys.modules[name]

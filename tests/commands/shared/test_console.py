"""What a command prints where: its result on stdout, and nothing that others' code prints."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import warnings

import click
import pytest
from click.testing import CliRunner

from edgerep.commands.shared.console import Console, console_options


@click.command()
@console_options
def talkative(console: Console) -> None:
    """Stands for a command that runs a network whose code prints and warns."""
    sys.stdout.write("the network prints\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    console.finish({"done": True}, "done")


@pytest.mark.parametrize("words", [["--json"], [], ["--quiet"]])
def test_stdout_has_the_result_alone(words: list[str]) -> None:
    run = CliRunner().invoke(talkative, words)
    if "--json" in words:
        assert json.loads(run.stdout) == {"done": True}
    else:
        assert run.stdout == "done\n"
    assert "the network prints" in run.stderr
    assert ("the network's code warned: careful" in run.stderr) == ("--quiet" not in words)


def test_a_terminal_obeys_no_name_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=False, quiet=False, verbose=False)
    console.progress("read", "\x1b]0;title\x07.onnx")
    console.finish({}, "a\x1b[2J.onnx: done\nagrees")
    said = capsys.readouterr()
    assert said.out == "a\\x1b[2J.onnx: done\nagrees\n"
    assert said.err.endswith("\\x1b]0;title\\x07.onnx\n")


_FOUR_WAYS = """
import os, sys
import click
from edgerep.commands.shared.console import console_options

@click.command()
@console_options
def command(console):
    print("by print")
    os.write(1, b"as a library in C does\\n")
    os.system("echo from a process")
    console.finish({"done": True}, "done")

command(standalone_mode=False)
print("later")
"""


@pytest.mark.skipif(os.name == "nt", reason="the descriptors are a POSIX thing")
def test_what_is_written_past_python_is_no_result() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FOUR_WAYS, "--json"], capture_output=True, text=True
    )
    assert done.stdout == '{\n  "done": true\n}\nlater\n'
    assert done.stderr.splitlines() == ["by print", "as a library in C does", "from a process"]


_EDGEREP = f"{shlex.quote(sys.executable)} -m edgerep"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
@pytest.mark.parametrize(
    ("target", "code", "says"),
    [("> /dev/full", 3, "cannot be written to stdout: No space left"), (">&-", 0, "")],
)
def test_a_full_stdout_is_said_and_a_closed_one_is_not(target: str, code: int, says: str) -> None:
    done = subprocess.run(
        f"{_EDGEREP} doctor {target}", shell=True, stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, "at fault" in done.stderr) == (code, False)
    assert says in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="the descriptors are a POSIX thing")
@pytest.mark.parametrize("words", ["--help", "doctor", "fuse --help"])
def test_a_reader_that_has_gone_is_nobodys_fault(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        f"{_EDGEREP} {words}", shell=True, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert done.stderr == ""

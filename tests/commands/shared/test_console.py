"""What a command prints where: its result on stdout, and nothing that others' code prints."""

from __future__ import annotations

import json
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

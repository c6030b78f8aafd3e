"""Where a command's words go: the result to stdout, everything else to stderr."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from edgerep.commands.shared.interruption import require_uninterrupted

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Console:
    """Output of one command.

    Attributes:
        as_json: Print one JSON object on stdout, and nothing else there.
        quiet: Say nothing on the way.
        verbose: Say more on the way.
        started: When the command began, by `time.monotonic`, in seconds.
    """

    as_json: bool
    quiet: bool
    verbose: bool
    started: float = field(default_factory=time.monotonic)

    def progress(self, stage: str, text: str) -> None:
        """Print one line about a stage on stderr, unless the console is quiet.

        Raises:
            KeyboardInterrupt: The user asked for it before, and Python dropped it.
        """
        require_uninterrupted()
        if not self.quiet:
            seconds = time.monotonic() - self.started
            click.echo(f"{seconds:6.1f}s  {stage:<8} {text}", err=True)

    def detail(self, stage: str, text: str) -> None:
        """Print one line about a stage on stderr where `--verbose` asked for more."""
        if self.verbose:
            self.progress(stage, text)

    def finish(self, result: Mapping[str, Any], text: str) -> None:
        """Print the command's result on stdout: `text` for people, or `result` as JSON."""
        if self.as_json:
            click.echo(json.dumps(result, indent=2, allow_nan=False))
        elif text:
            click.echo(text)


def console_options(command: F) -> F:
    """Add `--json`, `--quiet` and `--verbose`; the command is given them as one `console`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON result on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
    @click.option("--verbose", is_flag=True, help="Logs and tracebacks on stderr.")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
        return command(*args, console=Console(as_json, quiet, verbose), **kwargs)

    return wrapped  # type: ignore[return-value]  # click rewrites the signature

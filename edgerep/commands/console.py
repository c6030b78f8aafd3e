"""Where a command's words go: the result to stdout, everything else to stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Console:
    """Output of one command.

    Attributes:
        as_json: Print one JSON object on stdout, and nothing else there.
        quiet: Say nothing on the way.
        verbose: Say more on the way.
    """

    as_json: bool
    quiet: bool
    verbose: bool
    started: float = field(default_factory=time.monotonic)

    def progress(self, stage: str, text: str) -> None:
        """One line about a stage, as it happens, on stderr."""
        if not self.quiet:
            seconds = time.monotonic() - self.started
            click.echo(f"{seconds:6.1f}s  {stage:<8} {text}", err=True)

    def detail(self, stage: str, text: str) -> None:
        """A line for those who asked for more."""
        if self.verbose:
            self.progress(stage, text)

    def finish(self, result: Mapping[str, Any], text: str) -> None:
        """The command's result: `text` for people, or `result` as JSON."""
        if self.as_json:
            click.echo(json.dumps(result, indent=2, allow_nan=False))
        elif text:
            click.echo(text)

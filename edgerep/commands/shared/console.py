"""Where a command's words go: the result to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO, TypeVar

import click

from edgerep.bench.report.text.table import shown_on
from edgerep.commands.shared.colour import coloured, wants_colour
from edgerep.commands.shared.failure import failure_json
from edgerep.commands.shared.heartbeat import Heartbeat
from edgerep.commands.shared.interruption import require_uninterrupted
from edgerep.commands.shared.warned import Warned
from edgerep.errors import EdgerepError, OutputError, printable
from edgerep.outside.json_text import finite_json

F = TypeVar("F", bound=Callable[..., Any])


class Console:
    """Output of one command.

    Args:
        as_json: Print one JSON object on stdout, and nothing else there.
        quiet: Say nothing on the way.
        verbose: Say more on the way.
        results: Where results are printed; stdout if omitted.
    """

    def __init__(
        self, as_json: bool, quiet: bool, verbose: bool, results: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self._started = time.monotonic()
        # As the user has them; libraries and the network's own code are run with others.
        self._stdout, self._stderr = results or sys.stdout, sys.stderr
        self._heartbeat = Heartbeat(self._line)
        self.warned = Warned()

    def progress(self, stage: str, text: str) -> None:
        """Print one line about a stage on stderr, unless the console is quiet.

        Raises:
            KeyboardInterrupt: The user asked for it before, and Python dropped it.
        """
        require_uninterrupted()
        if not self.quiet:
            self._heartbeat.heard()
            self._line(stage, text)

    def doing(self, stage: str, text: str) -> None:
        """Say what is being done, again and again, once it takes longer than people wait."""
        if not self.quiet:
            self._heartbeat.doing(stage, text)

    def step(self, stage: str, text: str) -> None:
        """Print one line about a stage, and again while it is all that is being done."""
        self.progress(stage, text)
        self.doing(stage, text)

    def detail(self, stage: str, text: str) -> None:
        """Print one line about a stage on stderr where `--verbose` asked for more."""
        if self.verbose:
            self.progress(stage, text)

    def finish(self, result: Mapping[str, Any], text: str) -> None:
        """Print the command's result on stdout: `text` for people, or `result` as JSON."""
        self.close()
        if self.as_json:
            self._print(json.dumps(finite_json(result), indent=2, allow_nan=False), colour=False)
        elif text:
            text = printable(text)  # names of files are in it
            colour = wants_colour(self._stdout)
            self._print(coloured(text) if colour else text, colour=colour)

    def _print(self, text: str, *, colour: bool) -> None:
        try:
            click.echo(text, file=self._stdout, color=colour)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"the result cannot be written to stdout: {error.strerror}; what the command made "
                f"is there"
            ) from error

    def finish_in_vain(self, result: Mapping[str, Any], text: str, error: EdgerepError) -> int:
        """Print a result that is not what was asked for, and why; return the exit code."""
        self.finish({**result, **failure_json(error, str(error), error.exit_code)}, text)
        click.echo(f"edgerep: error: {error}", err=True)
        return error.exit_code

    def close(self) -> None:
        """Say what others' code warned of, and nothing more on the way."""
        self._heartbeat.end()
        if not self.quiet:
            for line in self.warned.lines():
                self._line("warning", line)

    def _line(self, stage: str, text: str) -> None:
        seconds = time.monotonic() - self._started
        line = f"{seconds:6.1f}s  {stage:<8} {printable(text)}"
        colour = wants_colour(self._stderr)
        click.echo(coloured(line) if colour else line, file=self._stderr, color=colour)


@contextlib.contextmanager
def _stdout_for_results() -> Iterator[TextIO]:
    """A stream to stdout; meanwhile what others write there goes to stderr.

    Libraries in C and the processes that the network's own code starts know nothing of Python's
    streams, so the descriptor itself is exchanged, where stdout is one.
    """
    stdout = sys.stdout
    try:
        is_plain = (stdout.fileno(), sys.stderr.fileno()) == (1, 2)
    except (OSError, ValueError, AttributeError):  # a test's, a notebook's, or closed
        is_plain = False
    if not is_plain:
        yield stdout
        return
    stdout.flush()
    kept = os.dup(1)
    results = os.fdopen(os.dup(1), "w", encoding=stdout.encoding, errors=stdout.errors)
    os.dup2(2, 1)
    try:
        yield results
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        with contextlib.suppress(OSError):  # the reader has gone, and was told so before
            results.close()


def console_options(command: F) -> F:
    """Add `--json`, `--quiet` and `--verbose`; the command is given them as one `console`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON result on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
    @click.option("--verbose", is_flag=True, help="Logs and tracebacks on stderr.")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
        with _stdout_for_results() as results:
            console = Console(as_json, quiet, verbose, results)
            try:
                # What the network's own code prints is no result.
                with (
                    console.warned.kept(),
                    contextlib.redirect_stdout(sys.stderr),
                    shown_on(results),
                ):
                    return command(*args, console=console, **kwargs)
            finally:
                console.close()

    return wrapped  # type: ignore[return-value]  # click rewrites the signature

"""The command line: find the command that was asked for, and turn errors into messages."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from edgerep import __version__
from edgerep.commands.shared.colour import paint, wants_colour
from edgerep.commands.shared.failure import failure_json, place_of
from edgerep.commands.shared.interruption import interruptible
from edgerep.commands.shared.suggestions import did_you_mean
from edgerep.errors import (
    EdgerepError,
    MissingDependencyError,
    is_lack_of_memory,
    is_of_own_code,
    kind_and_line,
    line_of,
    shortened,
)

# Each command, whose module has its name, and its line of help. The help stands here so that
# `--help` need not import what the commands import.
_COMMANDS = {
    "inspect": "Say what a file is, how it was made and whether it can run here.",
    "fuse": "Fuse a trained network and print the certificate.",
    "export-onnx": "Write the network as one checked ONNX file.",
    "build-engine": "Build a TensorRT or TensorRT-RTX engine.",
    "export-coreml": "Write a Core ML package.",
    "verify": "Compare artefacts with the unfused network in float64.",
    "bench": "Measure latency and memory, fused against unfused.",
    "deploy": "The whole path, into one folder with one report.",
    "report": "Render results as one HTML page.",
    "doctor": "Say what is installed, what can run here, and how to fix the rest.",
    "completion": "Print the shell's completion script.",
}

# Packages that are not base dependencies, and the extra that brings each.
EXTRAS = {
    "onnxruntime": "bench",
    "coremltools": "coreml",
    "tensorrt": "tensorrt",
    "pycuda": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
}
_NO_MEMORY = (
    "there is not enough memory for this network and batch: give a smaller --batch, --size or "
    "--input-shape"
)
_COMPLETING = "_EDGEREP_COMPLETE"  # set by the shell that asks for completions
_INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT


class LazyGroup(click.Group):
    """Imports a command's module when that command is asked for, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"edgerep.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        option = name.startswith("-")
        if not option and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            raise click.UsageError(
                f"No such command {name!r}{did_you_mean(name, _COMMANDS)}", ctx=ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done and within tolerance; 1 a check failed; 2 wrong usage; 3 an input "
    "is unreadable, malformed, unsafe or unsupported, or the output cannot be written; 4 a "
    "runtime or device that the command needs is missing.",
)
@click.version_option(__version__, prog_name="edgerep")
def group() -> None:
    """Turn a trained re-parameterizable network into a TensorRT engine or a Core ML package that
    is proven to give the same answers, and measure what that bought."""  # noqa: D205, D209


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line, and exit with a code that `--help` lists, or 130 after Ctrl-C.

    Args:
        args: Words of the command line without the program's name; if omitted, this process's own.
    """
    arguments = sys.argv[1:] if args is None else args
    logging.basicConfig(
        level=logging.DEBUG if "--verbose" in arguments else logging.ERROR,
        format="%(name)s: %(message)s",
    )
    try:
        with interruptible():
            code: Any = group.main(arguments, prog_name="edgerep", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        parameter = getattr(error, "param", None)
        where = parameter.opts[-1] if isinstance(parameter, click.Option) else None
        kind = "UsageError" if isinstance(error, click.UsageError) else type(error).__name__
        _fail(kind, error.format_message(), error.exit_code, arguments, where=where)
    except (click.Abort, KeyboardInterrupt):
        message = "interrupted; nothing half-written was left"
        _say(message)
        _fail("Interrupted", message, _INTERRUPTED, arguments)
    except EdgerepError as error:
        _refuse(error, str(error), error.exit_code, arguments)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            _refuse(error, _own_fault(error), 3, arguments)
        missing = MissingDependencyError(error.name or "", extra)
        _refuse(missing, str(missing), missing.exit_code, arguments)
    except BrokenPipeError:
        _end_unread()
    except SystemExit as error:  # no command ends like this, but the user's own code may
        if "PacifyFlushWrapper" in type(sys.stdout).__name__:  # click found it out, and ends so
            _end_unread()
        if _COMPLETING in os.environ:
            raise
        message = f"the network's own code ended the program: {line_of(error)}. Let it raise"
        _refuse(error, message, 3, arguments)
    except Exception as error:  # Python's own exit code for it, 1, would mean that a check failed
        _refuse(error, _what_failed(error, arguments), 3, arguments)
    except BaseException as error:  # as GeneratorExit is one, and whatever the user's own code has
        message = f"the network's own code ended the program: {line_of(error)}"
        _refuse(error, message, 3, arguments)
    sys.exit(code if isinstance(code, int) else 0)


def _end_unread() -> NoReturn:
    """The reader (`head`) has gone: say nothing, and let nothing be flushed at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(1)


def _refuse(error: BaseException, message: str, code: int, arguments: Sequence[str]) -> NoReturn:
    if "--verbose" in arguments:
        import traceback

        traceback.print_exception(error)
    message = shortened(message)
    start = paint("error:", "red") if wants_colour(sys.stderr) else "error:"
    _say(f"{start} {message}")
    _fail(type(error).__name__, message, code, arguments)


def _fail(
    kind: str, message: str, code: int, arguments: Sequence[str], *, where: str | None = None
) -> NoReturn:
    if "--json" in arguments:
        where = where or place_of(message, arguments)
        click.echo(json.dumps(failure_json(kind, message, code, where), indent=2))
    sys.exit(code)


def _what_failed(error: Exception, arguments: Sequence[str]) -> str:
    """What an error that nothing expected means: what the machine lacks, or whose fault it is."""
    if is_lack_of_memory(error):
        return _NO_MEMORY
    try:
        Path.cwd()
    except OSError:
        return "the current folder is gone: change into one that is there, and start again"
    if isinstance(error, OSError) and isinstance(error.filename, str | os.PathLike):
        return f"cannot use {os.fspath(error.filename)}: {error.strerror}"
    if is_of_own_code(error) and any(word.startswith("--model") for word in arguments):
        return (
            f"the network's own code fails: {line_of(error)}. It ran before, so it does not give "
            f"the same each time, or not for every input: mend it there"
        )
    return _own_fault(error)


def _own_fault(error: Exception) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return (
        f"edgerep itself is at fault: {kind_and_line(error)[:500]}{place}. --verbose prints the "
        f"whole traceback; please report it with the command and, where you can, the file"
    )


def _say(message: str) -> None:
    click.echo(f"edgerep: {message}", err=True, color=wants_colour(sys.stderr))

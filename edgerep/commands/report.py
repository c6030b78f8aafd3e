"""`edgerep report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgerep.artefacts.files import write_text
from edgerep.artefacts.kinds import SCHEMA
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.options import existing_file, output_option
from edgerep.commands.shared.outputs import require_output
from edgerep.errors import DataError, OptionError
from edgerep.outside.json_text import read_json
from edgerep.outside.results import RESULTS
from edgerep.outside.shapes import ShapeError, require_shape

_SECTIONS = ("deploy", "targets", "failures", "fuse", "verify", "bench", "artefacts", "accuracy")


@click.command(
    "report",
    cls=Command,
    examples=(
        "edgerep report deployed/deploy.json -o report.html",
        "edgerep report fuse.json bench.json -o report.html --title 'RepVGG-A0 on an Orin'",
    ),
)
@click.argument("results", nargs=-1, required=True, type=existing_file)
@output_option("The .html file")
@click.option("--title", help="Of the page. [default: what the results are of]")
@console_options
def command(results: tuple[Path, ...], output: Path, title: str | None, console: Console) -> None:
    """Render RESULTS, the JSON of `deploy`, `fuse`, `verify` or `bench`, as one HTML page.

    The page loads nothing from outside.
    """
    require_output(output, (".html", ".htm"), "a page", inputs=results)
    from edgerep.bench.report.html.page import render_html

    document: dict[str, Any] = {}
    for path in results:
        found = sections_of(_read(path), path)
        if twice := sorted(found.keys() & document.keys()):
            raise OptionError(f"{path}: there is a result for {', '.join(twice)} already")
        document.update(found)
    sections = ", ".join(document)
    write_text(output, render_html({**document, "title": title or _title(document)}))
    console.finish({"schema": SCHEMA, "output": str(output)}, f"{output}: {sections}")


def _title(document: dict[str, Any]) -> str:
    """The network's file, as `deploy` and `verify` call it, where a result names it."""
    for section, field in (("verify", "reference"), ("deploy", "source")):
        named = (document.get(section) or {}).get(field)
        if isinstance(named, str) and named:
            return Path(named).name
    return "edgerep report"


def sections_of(result: dict[str, Any], path: Path) -> dict[str, Any]:
    """The sections of the page that a result fills, by name.

    Args:
        result: The JSON of a command.
        path: Its file, for errors.

    Raises:
        DataError: `result` is not the JSON of `deploy`, `fuse`, `verify` or `bench`, or a part of
            it is not of its declared shape.
    """
    found = next((one for one in RESULTS if one[1] <= result.keys()), None)
    if found is None:
        raise DataError(
            f"{path} is not the JSON of `edgerep deploy`, `fuse`, `verify` or `bench`: it has the "
            f"keys {', '.join(key[:40] for key in list(result)[:8]) or '(none)'}"
        )
    name, _, shape = found
    try:
        require_shape(result, shape)
    except ShapeError as error:
        raise DataError(
            f"{path} is not what `edgerep {name} --json` writes: {error}; run it again"
        ) from error
    if name == "deploy":
        return {section: result[section] for section in _SECTIONS if result.get(section)}
    return {name: result}


def _read(path: Path) -> dict[str, Any]:
    result = read_json(path, DataError)
    if not isinstance(result, dict):
        raise DataError(f"{path} holds a {type(result).__name__}, not a result of edgerep")
    return result

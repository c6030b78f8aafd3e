"""Does what the readers of several pages do, each in a folder of its own, in one process.

A process of its own, so that what the pages import and print stays apart from the tests; one for
all pages, because importing the vendors takes longer than what the pages do.

    python tests/docs/reader.py STEPS.json OUTCOMES.json
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(steps: Path, outcomes: Path) -> None:
    found = []
    for page in json.loads(steps.read_text(encoding="utf-8")):
        os.chdir(page["folder"])
        names: dict[str, Any] = {"__name__": "__main__"}
        found.append([_outcome(step, names) for step in page["steps"]])
    outcomes.write_text(json.dumps(found), encoding="utf-8")


def _outcome(step: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        try:
            code = _run(step["words"], step["code"], names)
        except BaseException:  # whatever it was, the test says it
            traceback.print_exc()
            code = -1
    stream.seek(0)
    output = step["output"]
    return {
        "exit_code": code,
        "printed": stream.read(),
        "wrote": None if output is None else Path(output).exists(),
    }


def _run(words: list[str], code: str, names: dict[str, Any]) -> int:
    if code:
        exec(compile(code, "page", "exec"), names)
        return 0
    command, *arguments = words
    if command == "cd":
        os.chdir(arguments[0])
        return 0
    if command == "python" and arguments[0] == "-c":
        with _importing_from_here():
            exec(compile(arguments[1], "page", "exec"), {"__name__": "__main__"})
        return 0
    if command != "edgerep":
        raise ValueError(f"a page runs {command!r}, and only cd, python -c and edgerep are run")
    from edgerep.cli import main as edgerep

    try:
        edgerep(arguments)
    except SystemExit as done:
        return int(done.code or 0)


@contextlib.contextmanager
def _importing_from_here() -> Iterator[None]:
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path.pop(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())

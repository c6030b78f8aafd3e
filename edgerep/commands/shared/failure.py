"""A failure as an object, for `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgerep.artefacts.kinds import SCHEMA


def failure_json(
    error: BaseException | str, message: str, code: int, where: str | None = None
) -> dict[str, Any]:
    """What a command that failed prints on stdout with `--json`.

    Args:
        error: Whose class is the kind of the failure, or the kind itself.
        message: For people: what was found, where, and what to do.
        code: The exit code.
        where: The file or option that is at fault, as it was given; None where it is no single one.
    """
    kind = error if isinstance(error, str) else type(error).__name__
    return {
        "schema": SCHEMA,
        "error": {"code": code, "kind": kind, "message": message, "where": where},
    }


def place_of(message: str, arguments: Sequence[str]) -> str | None:
    """The word of the command line that a message is about: the longest that it names, or None."""
    parts = {part for word in arguments for part in (word, word.partition("=")[2])}
    # A number says nothing: shapes in messages have numbers too.
    words = {part for part in parts if len(part) > 1 and any(map(str.isalpha, part))}
    named = [word for word in words if word in message or Path(word).name in message.split()]
    return max(named, key=len, default=None)

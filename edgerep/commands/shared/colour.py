"""Colour for the words that say how a thing went, where a terminal shows it."""

from __future__ import annotations

import os
import re
from typing import IO, Any

# Only whole words that edgerep itself says as a verdict.
_VERDICTS = re.compile(r"\b(agrees|DISAGREES|UNDECIDABLE|not run|not made|faster|slower)\b")
_COLOURS = {
    "agrees": "green", "faster": "green", "DISAGREES": "red", "slower": "red",
    "UNDECIDABLE": "yellow", "not run": "yellow", "not made": "yellow",
}  # fmt: skip
_CODES = {"red": "31", "green": "32", "yellow": "33"}


def wants_colour(stream: IO[Any] | None) -> bool:
    """Whether a stream is to be coloured: it is a terminal, or the environment says so.

    `NO_COLOR` (no-color.org) and `FORCE_COLOR` (force-color.org), not empty, decide it, the first
    before the second.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if forced := os.environ.get("FORCE_COLOR"):
        return forced != "0"
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def coloured(text: str) -> str:
    """`text` with its verdicts in green, yellow and red."""
    return _VERDICTS.sub(lambda found: paint(found[0], _COLOURS[found[0]]), text)


def paint(text: str, colour: str) -> str:
    return f"\x1b[{_CODES[colour]};1m{text}\x1b[0m"

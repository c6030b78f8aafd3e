"""What a user may have meant by a word that names nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

_CLOSE = 0.6  # share of the letters that two words have in common; difflib's own default
_MOST_ENTRIES = 2000  # of a folder that are looked at


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean x?` for the nearest of `known`, or nothing where none is near."""
    from difflib import get_close_matches  # costs milliseconds, and only a mistake needs it

    spelled = {_plain(name): name for name in known}
    found = get_close_matches(_plain(word), spelled, n=2, cutoff=_CLOSE)
    if not found:
        return ""
    return f"; did you mean {' or '.join(spelled[name] for name in found)}?"


def file_meant(path: str | Path) -> str:
    """`; did you mean x?` for a file that stands beside a `path` that is not there."""
    path = Path(path)
    try:
        names = [entry.name for entry in itertools.islice(path.parent.iterdir(), _MOST_ENTRIES)]
    except OSError:
        return ""
    return did_you_mean(path.name, [name for name in names if name[0] != "." and name != path.name])


def _plain(word: str) -> str:
    return word.lower().replace("_", "-")

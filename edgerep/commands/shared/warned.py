"""What code of others warns of while a command runs: one line for each kind, not in between."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

_LONGEST = 160  # characters of a warning


class Warned:
    """Warnings that Python would print, kept and counted by kind and file."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[type[Warning], str], tuple[str, int, int]] = {}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what is warned of inside the block, instead of printing it."""
        before = warnings.showwarning

        def keep(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any
        ) -> None:
            first, line, count = self._kinds.get((category, filename), (str(message), lineno, 0))
            self._kinds[category, filename] = (first, line, count + 1)

        warnings.showwarning = keep  # type: ignore[assignment]
        try:
            yield
        finally:
            warnings.showwarning = before

    def lines(self) -> list[str]:
        """What was warned of since the last call, a line for each kind and file."""
        found = [
            f"the network's code warned: {_shortened(text)} ({PurePath(name).name}:{line})"
            f"{f' ({count} times)' if count > 1 else ''}"
            for (_, name), (text, line, count) in self._kinds.items()
        ]
        self._kinds.clear()
        return found


def _shortened(text: str) -> str:
    words = " ".join(text.partition("(Triggered internally")[0].split())  # where in torch's C++
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"

"""Words for the times in which a command has none: what it is doing, every two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SILENCE_SECONDS = 1.8  # less than the two seconds after which people think that nothing happens


class Heartbeat:
    """Says what is being done whenever nothing was said for a while, from a thread of its own.

    Args:
        say: Called with a stage and a text; it must not raise.
    """

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._doing: tuple[str, str, float] | None = None
        self._spoke = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def doing(self, stage: str, text: str) -> None:
        """From now on this is being done."""
        self._doing = (stage, text, time.monotonic())
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
            self._thread.start()

    def heard(self) -> None:
        """Somebody else has just said something."""
        self._spoke = time.monotonic()

    def end(self) -> None:
        """Never speak again. May be called more than once."""
        self._doing = None
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _beat(self) -> None:
        wait = _SILENCE_SECONDS
        while not self._ended.wait(wait):
            silent = time.monotonic() - self._spoke
            doing = self._doing
            if silent >= _SILENCE_SECONDS:
                if doing is not None:
                    stage, text, since = doing
                    self._say(stage, f"{text}: {time.monotonic() - since:.0f} s")
                self.heard()
                silent = 0.0
            wait = _SILENCE_SECONDS - silent

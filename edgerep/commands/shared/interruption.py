"""Ctrl-C that is not lost.

Python drops an exception that is raised in a finalizer or in a weak reference's callback, of which
the garbage of a large network runs many; code in C may drop one too. So it is remembered that the
user asked. What Python reports as dropped is raised again soon; what nobody reports is raised again
at the next line of progress.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

_AGAIN_SECONDS = 0.02  # after an interrupt that was dropped, until the next
_asked = False  # whether the user has interrupted the command


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block, Ctrl-C and SIGTERM raise KeyboardInterrupt until one gets through."""
    global _asked
    _asked = False
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not told to ignore it
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    hook, sys.unraisablehook = sys.unraisablehook, _again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def require_uninterrupted() -> None:
    """Raise KeyboardInterrupt if the user has asked for it: an earlier one was dropped."""
    if _asked:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: object) -> NoReturn:
    global _asked
    _asked = True
    raise KeyboardInterrupt


def _again(dropped: sys.UnraisableHookArgs) -> None:
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        again = threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main)  # here, it would be dropped
        again.daemon = True  # nothing is left to interrupt when the program has ended
        again.start()
    else:
        sys.__unraisablehook__(dropped)

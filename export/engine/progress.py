"""Run a build of an engine so that it can be watched and stopped."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
_POLL_SECONDS = 0.1
_REPORT_SECONDS = 0.2


class Watch:
    """What passes between the build, in its own thread, and whoever waits for it."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None: the build ended
        self.stop = threading.Event()


def monitor_for(trt: Any, watch: Watch) -> Any | None:
    """An `IProgressMonitor` of the vendor's module; None where it has none (TensorRT before 10)."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base is known at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps
            watch.events.put(f"{phase}: 0/{steps}")

        def step_complete(self, phase: str, step: int) -> bool:
            """False ends the build."""
            watch.events.put(f"{phase}: {step + 1}/{self.steps.get(phase, '?')}")
            return not watch.stop.is_set()

        def phase_finish(self, phase: str) -> None:
            self.steps.pop(phase, None)

    return Monitor()


def run_watched(
    build: Callable[[], T], watch: Watch, progress: Callable[[str], None] | None = None
) -> T:
    """Run `build` in a thread of its own and report on it from this one.

    The builder holds its thread until it is done, so Ctrl-C would only arrive then. From here it
    arrives at once, stops the build at its next step, and is raised when the build has ended;
    so is whatever `progress` raises. A second Ctrl-C does not wait.

    Args:
        build: Calls the builder; must end soon once `watch.stop` is set.
        watch: What the build's monitor was made with.
        progress: Called in the calling thread with the current phase, at most five times a second.
    """
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(build())
        except BaseException as error:  # carried over to the thread that waits
            outcome.set_exception(error)
        finally:
            watch.events.put(None)

    thread = threading.Thread(target=work, name="edgerep-build", daemon=True)
    thread.start()
    try:
        _report(watch, progress)
    except BaseException:
        watch.stop.set()
        logger.info("waiting for the builder to stop")
        thread.join()
        raise
    thread.join()
    return outcome.result()


def _report(watch: Watch, progress: Callable[[str], None] | None) -> None:
    """Hand events on until the build ends."""
    reported = float("-inf")
    while True:
        try:
            # With a timeout, because on Windows Ctrl-C cannot interrupt the wait itself.
            event = watch.events.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if event is None:
            return
        now = time.monotonic()
        if progress is not None and now - reported >= _REPORT_SECONDS:
            reported = now
            progress(event)

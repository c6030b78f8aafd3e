"""Wait until the threads that one case has left spinning have stopped, before another is timed.

Threads of a runtime's pool spin for a while after an inference, to be there at once for the next
one: ONNX Runtime's for 22 ms by default (1.32), an OpenMP library's for its block time. On a core
that another runtime needs, they make the turn of that runtime several times slower; forbidding them
to spin would make their own runtime slower. Waiting costs neither anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable

STEP_SECONDS = 0.002  # of one sleep
QUIET_STEPS = 2  # in a row; for one, a spinning thread may have been kept off its core
LIMIT_SECONDS = 0.25  # of waiting; a program with busy threads of its own never rests
_IDLE_SHARE = 0.1  # of one core: what a process at rest may use


def come_to_rest(
    *,
    cpu_ns: Callable[[], int] = time.process_time_ns,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Sleep until this process uses no processor time; False if it still does after 0.25 s.

    Args:
        cpu_ns: Processor time of all threads of this process, in nanoseconds.
        clock_ns: Monotonic clock in nanoseconds.
        sleep: Waits for so many seconds.
    """
    begin = clock_ns()
    quiet = 0
    while quiet < QUIET_STEPS:
        if clock_ns() - begin >= LIMIT_SECONDS * 1e9:
            return False
        before_cpu, before = cpu_ns(), clock_ns()
        sleep(STEP_SECONDS)
        used = cpu_ns() - before_cpu
        quiet = quiet + 1 if used <= _IDLE_SHARE * (clock_ns() - before) else 0
    return True

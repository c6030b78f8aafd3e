"""Coming to rest between turns: on made-up clocks, with real threads, with ONNX Runtime's own."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.bench.timing.idle import LIMIT_SECONDS, QUIET_STEPS, STEP_SECONDS, come_to_rest
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

NET = Architecture(3, 32, (32, 64), (1, 1), (1, 1, 1), squeeze=False, classes=5)


class Process:
    """Time, and the processor time of a process that uses a share of it until some moment."""

    def __init__(self, busy_seconds: float, share: float) -> None:
        self.busy_seconds = busy_seconds
        self.share = share
        self.now = 0.0

    def clock_ns(self) -> int:
        return round(self.now * 1e9)

    def cpu_ns(self) -> int:
        return round(self.share * min(self.now, self.busy_seconds) * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def rests(self) -> bool:
        return come_to_rest(cpu_ns=self.cpu_ns, clock_ns=self.clock_ns, sleep=self.sleep)


@pytest.mark.parametrize("share", [0.2, 1.0, 7.0])
def test_waits_as_long_as_threads_spin_and_not_much_longer(share: float) -> None:
    process = Process(busy_seconds=0.022, share=share)
    assert process.rests()
    assert 0.022 <= process.now <= 0.022 + (QUIET_STEPS + 1) * STEP_SECONDS


def test_an_idle_process_hardly_waits() -> None:
    process = Process(busy_seconds=0, share=1)
    assert process.rests()
    assert process.now == pytest.approx(QUIET_STEPS * STEP_SECONDS)


def test_a_process_that_never_rests_is_not_waited_for_without_end() -> None:
    process = Process(busy_seconds=1e9, share=1)
    assert not process.rests()
    assert process.now == pytest.approx(LIMIT_SECONDS, abs=STEP_SECONDS)


def test_a_busy_thread_is_noticed() -> None:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        # Several tries: on a busy machine the thread may get no core for a while.
        noticed = any(not come_to_rest() for _ in range(5))
    finally:
        stop.set()
        thread.join()
    assert noticed
    assert any(come_to_rest() for _ in range(5))


def test_onnxruntime_has_stopped_spinning_afterwards(tmp_path: Path) -> None:
    graph = export_onnx(fuse(random_repvgg(NET, seed=0)), tmp_path / "a.onnx", size=32)
    with OnnxRuntimeSession(graph.path, threads=2) as session:
        once = session.bind(np.zeros((1, 3, 32, 32), np.float32))

        def used_after_resting() -> float:
            for _ in range(20):
                once()
            come_to_rest()
            before = time.process_time()
            time.sleep(0.05)
            return time.process_time() - before

        # A spinning thread would use all of it; the best of five, for a busy machine's sake.
        assert min(used_after_resting() for _ in range(5)) < 0.02

"""A command that is silent says what it does, and never after it has ended."""

from __future__ import annotations

import threading

import pytest

from edgerep.commands.shared import heartbeat
from edgerep.commands.shared.heartbeat import Heartbeat


def test_it_speaks_when_nothing_else_does_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_SILENCE_SECONDS", 0.01)
    twice = threading.Semaphore(0)
    said: list[str] = []

    def say(stage: str, text: str) -> None:
        said.append(f"{stage} {text}")
        twice.release()

    beat = Heartbeat(say)
    beat.doing("onnx", "exporting")
    assert all(twice.acquire(timeout=30) for _ in range(2))
    beat.end()
    count = len(said)
    assert set(said) == {"onnx exporting: 0 s"}
    assert threading.Event().wait(0.05) is False
    assert len(said) == count

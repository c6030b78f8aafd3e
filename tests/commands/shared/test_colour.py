"""Colour where a terminal shows it or the environment asks for it, and nowhere else."""

from __future__ import annotations

import io

import pytest

from edgerep.commands.shared.colour import coloured, wants_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "wanted"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (Terminal(), {"FORCE_COLOR": "0"}, False),
        (Terminal(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_who_decides(
    stream: io.StringIO,
    environment: dict[str, str],
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(stream) is wanted


def test_only_verdicts_are_coloured() -> None:
    assert coloured("a.onnx agrees, b.engine: not run") == (
        "a.onnx \x1b[32;1magrees\x1b[0m, b.engine: \x1b[33;1mnot run\x1b[0m"
    )
    assert coloured("disagreeable.onnx") == "disagreeable.onnx"

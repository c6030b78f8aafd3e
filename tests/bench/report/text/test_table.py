"""Plain-text tables: aligned, and as wide as the terminal at most."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from edgerep.bench.report.text.table import pairs, shown_on, table, terminal_width

HEADERS = ("artefact", "runtime", "rel L2", "verdict")
ROWS = [
    ("a-network-with-a-long-name.fp16.engine", "tensorrt-rtx", "1.2e-06", "agrees"),
    ("b.onnx", "onnxruntime", "-", "not run"),
]


def test_without_a_limit_every_row_is_a_line() -> None:
    lines = table(HEADERS, ROWS, width=200).splitlines()
    assert len(lines) == 4
    assert [line.index("agrees") for line in lines if "agrees" in line] == [
        lines[0].index("verdict")
    ]


@pytest.mark.parametrize("width", [80, 60, 50, 40])
def test_a_table_fits_and_loses_nothing(width: int) -> None:
    lines = table(HEADERS, ROWS, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum("1.2e-06" in line for line in lines) == 1  # a number is never broken
    letters = sorted("".join(c for c in "".join(lines) if c.isalnum()))
    whole = sorted(c for row in (HEADERS, *ROWS) for cell in row for c in cell if c.isalnum())
    assert letters == whole


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert max(map(len, table(HEADERS, ROWS).splitlines())) <= 50
    monkeypatch.delenv("COLUMNS")
    assert max(map(len, table(HEADERS, ROWS).splitlines())) == 70  # pytest's stdout is no terminal


@pytest.mark.parametrize(("width", "shown"), [
    (200, "artefact runtime rel L2 verdict"), (70, "artefact runtime rel L2 verdict"),
    (65, "artefact rel L2 verdict"), (50, "artefact verdict"),
])  # fmt: skip
def test_spare_columns_go_before_a_cell_is_broken(width: int, shown: str) -> None:
    lines = table(HEADERS, ROWS, width=width, spare=("runtime", "rel L2")).splitlines()
    assert " ".join(lines[0].split()) == shown
    assert lines[2].startswith(ROWS[0][0])
    left_out = [header for header in ("runtime", "rel L2") if header not in shown]
    assert (lines[-1] == f"(no room for: {', '.join(left_out)})") is bool(left_out)


def test_pairs_go_on_below_themselves_where_there_is_no_room() -> None:
    rows = [("sha256", "0" * 64), ("made", "2026-11-27, edgerep 0.1.0, python 3.11.7")]
    assert pairs(rows, 80).splitlines()[0] == f"sha256          {'0' * 64}"
    narrow = pairs(rows, 48).splitlines()
    assert max(map(len, narrow)) <= 48
    assert [line[:16].strip() for line in narrow] == ["sha256", "", "made", ""]
    assert "".join(line[16:] for line in narrow[:2]) == "0" * 64


def test_the_width_is_that_of_the_stream_a_table_is_shown_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 53, 0, 0))
    with open(theirs, "w") as terminal, shown_on(terminal):
        assert terminal_width() == 53
    os.close(ours)
    with (tmp_path / "file").open("w") as file, shown_on(file):
        assert terminal_width() is None

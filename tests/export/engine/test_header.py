"""Headers of engines: what they say, and what is no engine."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from edgerep.errors import EngineError
from edgerep.export.engine.header import Plan, read_plan


def header(tag: bytes, version: tuple[int, int, int, int], *, length: int = 100) -> bytes:
    """A plan of `length` bytes: tag, serialization 0, its length at 16, the version at 24."""
    return struct.pack("<4sIQQ4B", tag, 0, 2, length, *version).ljust(length, b"\0")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("tag", "version", "expected"),
    [
        (b"ftrt", (8, 6, 1, 6), Plan("tensorrt", "8.6.1.6", 100)),
        (b"ftrt", (10, 3, 0, 26), Plan("tensorrt", "10.3.0.26", 100)),
        (b"vtrt", (1, 7, 1, 116), Plan("tensorrt-rtx", "1.7.1.116", 100)),
    ],
)
def test_header_names_runtime_and_version(
    tmp_path: Path, tag: bytes, version: tuple[int, int, int, int], expected: Plan
) -> None:
    assert read_plan(write(tmp_path / "a.engine", header(tag, version))) == expected


def test_ultralytics_prefix_is_read_and_skipped(tmp_path: Path) -> None:
    metadata = {"stride": 32, "names": {"0": "person"}}
    prefix = json.dumps(metadata).encode()
    content = struct.pack("<i", len(prefix)) + prefix + header(b"ftrt", (10, 3, 0, 26))
    plan = read_plan(write(tmp_path / "a.engine", content))
    assert plan == Plan("tensorrt", "10.3.0.26", len(content), 4 + len(prefix), metadata)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no TensorRT engine"),
        (b"PK\x03\x04 a zip file, long enough for a header", "is no TensorRT engine"),
        (header(b"ftrt", (10, 3, 0, 26))[:20], "cut short: 20 bytes"),
        (header(b"vtrt", (1, 7, 1, 116))[:99], "says 100 bytes, and 99 are there"),
        (struct.pack("<4sI", b"ftrt", 7).ljust(40, b"\0"), "serialization version 7"),
        (struct.pack("<i", 60) + b'{"cut', "is no TensorRT engine"),
        (struct.pack("<i", 5) + b"{nope" + header(b"ftrt", (10, 3, 0, 26)), "is no TensorRT"),
    ],
)
def test_what_is_no_engine_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = write(tmp_path / "a.engine", content)
    with pytest.raises(EngineError, match=words) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.engine", tmp_path):
        with pytest.raises(EngineError, match="cannot read"):
            read_plan(path)

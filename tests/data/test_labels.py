"""Names of classes, from the files that people have."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgerep.data.labels import read_labels
from edgerep.errors import EdgerepError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "cat\n\n  dog \r\n"),
        ("a.txt", "\ufeffcat\ndog"),
        ("a.json", '["cat", "dog"]'),
        ("a.txt", '["cat", "dog"]'),
        ("a.json", '{"1": "dog", "0": "cat"}'),
        ("a.json", '{"0": ["n02121808", "cat"], "1": ["n02084071", "dog"]}'),
    ],
)
def test_every_usual_file_is_read(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no label"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"cat\ncat", "more than once"),
        (b'["cat", 3]', "no names"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"cat": 0}', "keys are not the numbers"),
        (b"cat\x00\n", "control characters"),
    ],
)
def test_others_are_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(EdgerepError, match=says):
        read_labels(tmp_path / "a.txt")

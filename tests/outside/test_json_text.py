"""JSON from outside is what RFC 8259 calls JSON, within bounds, or it is refused in words."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from edgerep.errors import DataError
from edgerep.outside.json_text import JsonError, finite_json, parse_json, read_json

REFUSED = {
    "100,000 brackets": "[" * 100_000 + "]" * 100_000,
    "100,000 objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "NaN": "[NaN]",
    "Infinity": '{"a": -Infinity}',
    "a number beyond float64": "[1e999]",
    "a number beyond int64": f"[{2**63}]",
    "a number of 10,000 digits": "[" + "9" * 10_000 + "]",
    "a key twice": '{"a": {"b": 1, "c": 2, "b": 3}}',
    "half a surrogate pair": r'{"\ud800": 1}',
    "five million values": "[" + "0," * 5_000_000 + "0]",
    "cut short": '{"a": [1, 2',
    "nothing": "",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_json_or_too_much_of_it_is_refused(name: str) -> None:
    with pytest.raises(JsonError) as refusal:
        parse_json(REFUSED[name])
    assert len(str(refusal.value)) < 300


def test_brackets_inside_texts_do_not_count_as_depth() -> None:
    value = {"a\\": "[" * 1000, 'b"': "\\" * 3 + "{" * 1000, "c": "\U0001f600"}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


def test_a_file_is_named_in_its_refusal(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a\.json is not JSON.*UTF-8"):
        read_json(path, DataError)


def test_what_json_has_no_word_for_is_written_as_null() -> None:
    value = finite_json({"a": (1.5, math.nan), "b": [math.inf, None, True, "x"]})
    assert value == {"a": [1.5, None], "b": [None, None, True, "x"]}

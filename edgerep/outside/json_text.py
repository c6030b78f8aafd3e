"""JSON as RFC 8259 has it: from outside held to it and to bounds, and written as it demands."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from edgerep.errors import EdgerepError
from edgerep.outside.regular import MIB, read_regular

LARGEST_JSON = 64 * MIB  # a bench of 100 cases and 10,000 samples each has 20
_DEEPEST = 64  # lists and objects in each other; edgerep writes 8
_MOST_VALUES = 4_000_000
_LARGEST_INTEGER = 2**63
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BRACKETS = re.compile(r"[\[{]|[\]}]")


class JsonError(ValueError):
    """A text is not JSON, or more of it than is read."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Args:
        text: In UTF-8, where it is bytes.

    Raises:
        JsonError: The text is no JSON (NaN and Infinity are none), has a number that no float64
            and no int64 holds, half a surrogate pair or a key twice in one object, or is longer,
            deeper or of more values than edgerep reads.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise JsonError(f"it is not in UTF-8: {error.reason} at byte {error.start}") from error
    if len(text) > LARGEST_JSON:
        raise JsonError(f"it has {len(text):,} characters; {LARGEST_JSON:,} are read")
    _require_shallow(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonError(str(error)) from error
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise JsonError("a text in it holds half a surrogate pair") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object each of whose keys stands once: readers differ in which of two they take."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in made if keys.count(key) > 1)
        raise JsonError(f"the key {twice[:100]!r} stands more than once in one object")
    return made


def read_json(path: Path, error: type[EdgerepError] = EdgerepError) -> Any:
    """The value in a JSON file.

    Raises:
        EdgerepError: As `error`: the file cannot be read or is no regular one, or `parse_json`
            refuses its text.
    """
    content = read_regular(path, error, most=LARGEST_JSON)
    try:
        return parse_json(content)
    except JsonError as failure:
        raise error(f"{path} is not JSON, or it was cut short: {failure}") from failure


def finite_json(value: Any) -> Any:
    """`value` with None for NaN and infinities, which JSON has no word for; tuples become lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    return value


def _require_shallow(text: str) -> None:
    """Refuse depth and number of values before Python's own reader recurses and allocates."""
    bare = _STRING.sub('"', text)
    if bare.count(",") + bare.count("[") + bare.count("{") > _MOST_VALUES:
        raise JsonError(f"it has more than {_MOST_VALUES:,} values")
    depth = 0
    for bracket in _BRACKETS.findall(bare):
        depth += 1 if bracket in "[{" else -1
        if depth > _DEEPEST:
            raise JsonError(f"it is nested more than {_DEEPEST} deep")


def _no_constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -_LARGEST_INTEGER <= int(digits) < _LARGEST_INTEGER:
        raise JsonError(f"the number {digits[:24]}... does not fit into 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise JsonError(f"the number {digits[:24]} is too large")
    return number

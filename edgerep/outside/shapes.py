"""Shapes of JSON values: declared once, checked at reading, and published as JSON Schema.

A shape says what a value must be. What it does not name it lets pass, unless it is closed: an older
or newer edgerep may write more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

_MOST_TEXT = 1 << 20
_MOST_ITEMS = 1 << 20


class ShapeError(ValueError):
    """A value is not of its declared shape; the message says where, what is wanted and found."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string of at most `most` characters, one of `choices` where there are any."""

    most: int = _MOST_TEXT
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer from `least` to `most`, ends included."""

    least: int = -(2**63)
    most: int = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number from `least` to `most`, ends included, and above `above`."""

    above: float = -math.inf
    least: float = -math.inf
    most: float = math.inf


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Null:
    """Null."""


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value."""


@dataclass(frozen=True, slots=True)
class Each:
    """A list of `least` to `most` values, each of shape `item`."""

    item: Shape
    least: int = 0
    most: int = _MOST_ITEMS


@dataclass(frozen=True, slots=True)
class Table:
    """An object whose names are free, and whose values are all of one shape."""

    value: Shape
    most: int = _MOST_ITEMS


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with the names that must be there and those that may; with others unless closed."""

    required: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Either:
    """A value of any of several shapes."""

    shapes: tuple[Shape, ...]


Shape: TypeAlias = Text | Whole | Number | Flag | Null | Anything | Each | Table | Fields | Either


def maybe(shape: Shape) -> Either:
    """Null, or a value of `shape`."""
    return Either((Null(), shape))


def require_shape(value: Any, shape: Shape, where: str = "") -> None:
    """Check a value, and all that is in it.

    Args:
        value: As `parse_json` gives it.
        shape: What it must be.
        where: The name of the value, for the message.

    Raises:
        ShapeError: The first part of it that is of another shape.
    """
    match shape:
        case Each() if isinstance(value, list) and shape.least <= len(value) <= shape.most:
            for index, item in enumerate(value):
                require_shape(item, shape.item, f"{where}[{index}]")
        case Table() if isinstance(value, dict) and len(value) <= shape.most:
            for name, item in value.items():
                require_shape(item, shape.value, _inside(where, name))
        case Fields() if isinstance(value, dict):
            _require_fields(value, shape, where)
        case Either():
            _require_either(value, shape, where)
        case _ if not _is_plain(value, shape):
            raise ShapeError(f"{where or 'it'}: {_wanted(shape)} is wanted, {_shown(value)} found")


def json_schema(shape: Shape) -> dict[str, Any]:
    """A shape in the words of JSON Schema (draft 2020-12), without the bounds on sizes."""
    match shape:
        case Text():
            return {"type": "string"} | ({"enum": list(shape.choices)} if shape.choices else {})
        case Whole():
            bounded = {"minimum": shape.least} if shape.least > -(2**63) else {}
            return {"type": "integer", **bounded}
        case Number():
            ends = {
                "exclusiveMinimum": shape.above, "minimum": shape.least, "maximum": shape.most
            }  # fmt: skip
            return {"type": "number"} | {k: end for k, end in ends.items() if math.isfinite(end)}
        case Flag():
            return {"type": "boolean"}
        case Null():
            return {"type": "null"}
        case Anything():
            return {}
        case Each():
            least = {"minItems": shape.least} if shape.least else {}
            most = {"maxItems": shape.most} if shape.most < _MOST_ITEMS else {}
            return {"type": "array", "items": json_schema(shape.item), **least, **most}
        case Table():
            return {"type": "object", "additionalProperties": json_schema(shape.value)}
        case Fields():
            return {
                "type": "object",
                "properties": {
                    name: json_schema(inner)
                    for name, inner in {**shape.required, **shape.optional}.items()
                },
                "required": list(shape.required),
                "additionalProperties": not shape.closed,
            }
        case Either():
            return {"anyOf": [json_schema(one) for one in shape.shapes]}


def _require_fields(value: dict[str, Any], shape: Fields, where: str) -> None:
    for name in shape.required:
        if name not in value:
            raise ShapeError(f"{_inside(where, name)}: it is missing")
    declared = {**shape.required, **shape.optional}
    for name, item in value.items():
        if name in declared:
            require_shape(item, declared[name], _inside(where, name))
        elif shape.closed:
            raise ShapeError(f"{_inside(where, name)}: there is no such field")


def _require_either(value: Any, shape: Either, where: str) -> None:
    """Of several shapes the error of the only one that is of the value's own kind says most."""
    errors = []
    for one in shape.shapes:
        try:
            return require_shape(value, one, where)
        except ShapeError as error:
            if _kind(value) in _kinds(one):
                errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    raise ShapeError(f"{where or 'it'}: {_wanted(shape)} is wanted, {_shown(value)} found")


def _is_plain(value: Any, shape: Shape) -> bool:
    match shape:
        case Anything():
            return True
        case Null():
            return value is None
        case Flag():
            return isinstance(value, bool)
        case Text():
            known = not shape.choices or value in shape.choices
            return isinstance(value, str) and len(value) <= shape.most and known
        case Whole():
            whole = isinstance(value, int) and not isinstance(value, bool)
            return whole and shape.least <= value <= shape.most
        case Number():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            inside = number and shape.above < value and shape.least <= value <= shape.most
            return inside and math.isfinite(value)
    return False  # a container, and the value is none


def _wanted(shape: Shape) -> str:
    match shape:
        case Text():
            return " or ".join(map(repr, shape.choices)) or "a text"
        case Whole():
            return f"a whole number from {shape.least}" if shape.least > -1000 else "a whole number"
        case Number():
            ends = [f" above {shape.above:g}"] if shape.above > -math.inf else []
            ends += [f" from {shape.least:g}"] if shape.least > -math.inf else []
            ends += [f" to {shape.most:g}"] if shape.most < math.inf else []
            return f"a number{''.join(ends)}"
        case Flag():
            return "true or false"
        case Null():
            return "null"
        case Each():
            count = f" of {shape.least}" if 0 < shape.least == shape.most else ""
            return f"a list{count}"
        case Table() | Fields():
            return "an object"
        case Either():
            return " or ".join(_wanted(one) for one in shape.shapes)
    return "a value"


def _kinds(shape: Shape) -> set[str]:
    match shape:
        case Either():
            return set().union(*(_kinds(one) for one in shape.shapes))
        case Table() | Fields():
            return {"object"}
        case Each():
            return {"list"}
        case Text():
            return {"text"}
    return set()


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    return "list" if isinstance(value, list) else "text" if isinstance(value, str) else ""


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:37]}...")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _inside(where: str, name: str) -> str:
    short = name if len(name) <= 40 else f"{name[:37]}..."
    return f"{where}.{short}" if where else short

"""Values are held to declared shapes, and the shapes are published as they are."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from outside.published import FOLDER, SHAPES, document

from edgerep.outside.declared import RECORD
from edgerep.outside.results import DEPLOY
from edgerep.outside.shapes import (
    Each,
    Either,
    Fields,
    Flag,
    Null,
    Number,
    Shape,
    ShapeError,
    Table,
    Text,
    Whole,
    maybe,
    require_shape,
)

ROOT = Path(__file__).parents[2]
GOOD: list[tuple[Any, Shape]] = [
    ("a", Text(choices=("a", "b"))),
    (3, Whole(1, 3)),
    (2.5, Number(above=0)),
    (2, Number(least=2, most=2)),
    (True, Flag()),
    (None, maybe(Text())),
    ([1, 2, 3], Each(Whole(), least=3, most=3)),
    ({"a": 1, "b": 2}, Table(Whole())),
    ({"a": 1, "other": []}, Fields({"a": Whole()}, {"b": Text()})),
    ("x", Either((Whole(), Text()))),
]
BAD: list[tuple[Any, Shape, str]] = [
    ("c", Text(choices=("a", "b")), "it: 'a' or 'b' is wanted, 'c' found"),
    ("x" * 5, Text(4), "a text is wanted"),
    (True, Whole(), "a whole number is wanted, true found"),
    (1, Flag(), "true or false is wanted, 1 found"),
    (1.0, Whole(0), "a whole number from 0 is wanted, 1.0 found"),
    (0, Number(above=0), "a number above 0 is wanted, 0 found"),
    (float("nan"), Number(), "a number is wanted, nan found"),
    ([], maybe(Text()), "null or a text is wanted, a list of 0 found"),
    ([1, "a"], Each(Whole()), r"\[1\]: a whole number is wanted, 'a' found"),
    ([1], Each(Whole(), least=3, most=3), "a list of 3 is wanted, a list of 1 found"),
    ({"a": {"b": 1}}, Table(Table(Text())), r"a\.b: a text is wanted"),
    ({}, Fields({"a": Whole()}), "a: it is missing"),
    ({"b": 1}, Fields(closed=True), "b: there is no such field"),
    ({"a": [{}]}, Fields({"a": maybe(Each(Fields({"k": Null()})))}), r"a\[0\]\.k: it is missing"),
]


@pytest.mark.parametrize(("value", "shape"), GOOD)
def test_a_value_of_its_shape_passes(value: Any, shape: Shape) -> None:
    require_shape(value, shape)


@pytest.mark.parametrize(("value", "shape", "says"), BAD)
def test_a_value_of_another_shape_is_named(value: Any, shape: Shape, says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        require_shape(value, shape)


def mutants(value: Any) -> list[Any]:
    """A value with each of its parts, in turn, of another type."""
    others: tuple[Any, ...] = (None, 5, "x", [], {})
    found = [other for other in others if type(other) is not type(value)]
    if isinstance(value, dict):
        for name, item in value.items():
            found += [{**value, name: other} for other in mutants(item)]
    elif isinstance(value, list) and value:
        found += [[other, *value[1:]] for other in mutants(value[0])]
    return found


def shortened(value: Any) -> Any:
    """A value whose lists have at most two items, which is enough of each kind."""
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    return [shortened(item) for item in value[:2]] if isinstance(value, list) else value


def test_a_real_result_passes_and_its_mutants_are_refused_or_shown() -> None:
    """What passes the shape must be drawn; what is not drawn must be refused."""
    from edgerep.bench.report.html.page import render_html

    result = json.loads((ROOT / "docs/results/demo-2026-11-24.json").read_text(encoding="utf-8"))
    require_shape(result, DEPLOY)
    result = shortened(result)
    refused = shown = 0
    for mutant in mutants(result)[::3]:
        try:
            require_shape(mutant, DEPLOY)
        except ShapeError:
            refused += 1
        else:
            render_html({"title": "mutant", **copy.deepcopy(mutant)})
            shown += 1
    assert refused > 100
    assert shown > 30


def test_records_of_earlier_releases_are_of_the_declared_shape() -> None:
    record: dict[str, Any] = {
        "kind": "onnx", "sha256": "0" * 64, "made_from": [], "versions": {"edgerep": "0.1"},
        "options": {}, "details": {}, "created": "2026-11-24T00:00:00+00:00", "parity": None,
        "schema": 1,
    }  # fmt: skip
    require_shape(record, RECORD)
    for name in ("versions", "options", "details", "made_from", "sha256"):
        for wrong in (None, 5, "x") if name != "sha256" else (None, 5, []):
            with pytest.raises(ShapeError, match=name):
                require_shape({**record, name: wrong}, RECORD)


@pytest.mark.parametrize("name", SHAPES)
def test_the_published_schemas_are_the_declared_shapes(name: str) -> None:
    published = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert published == document(name), "run tests/outside/published.py"


def test_no_schema_is_published_that_nothing_declares() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in SHAPES}

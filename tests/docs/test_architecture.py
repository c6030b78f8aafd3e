"""docs/architecture.md draws the house as tests/test_imports.py holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from docs.pages import ROOT, spans_of
from test_imports import HOUSE

from house import read_sources

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")

_TAKEN = re.compile(
    r"nothing of edgerep|every floor below|floors (\d) to (\d)(?: without `([\w/]+)`)?"
    r"|what `([\w/]+)` may|`([\w/]+)`"
)


def rows_of(text: str) -> list[list[str]]:
    """The cells of every table row of a page."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def floors_in(rows: Iterable[list[str]]) -> dict[str, set[str]]:
    """Who may import whom, by the words of the two tables, in the terms of the test of imports."""
    floor_of: dict[str, int] = {}
    words: dict[str, str] = {}
    for row in rows:
        room = row[-2].strip("`").replace("/", ".")
        if len(row) == 3 and row[0].isdecimal():
            floor_of[room] = int(row[0])
        if "its rooms" not in row[-1]:
            words[room] = row[-1]
    return {room: _named(room, words, floor_of) for room in words}


def _named(room: str, words: Mapping[str, str], floor_of: Mapping[str, int]) -> set[str]:
    found: set[str] = set()
    for taken in _TAKEN.finditer(words[room]):
        low, high, without, like, name = taken.groups()
        if taken[0] == "every floor below":
            found |= _on_floors(range(floor_of[room]), floor_of)
        elif low:
            found |= _on_floors(range(int(low), int(high) + 1), floor_of) - {without}
        elif like:
            found |= _named(like.replace("/", "."), words, floor_of)
        elif name:
            found.add(name.replace("/", "."))
    return found


def _on_floors(floors: range, floor_of: Mapping[str, int]) -> set[str]:
    return {room for room, floor in floor_of.items() if floor in floors}


def test_the_tables_say_what_the_test_of_imports_holds() -> None:
    section = PAGE.partition("## Who may import whom")[2].partition("\n## ")[0]
    rows = [row for row in rows_of(section) if row[-1] != "may import"]
    drawn = floors_in(rows)
    held = {room: set(allowed) for room, allowed in HOUSE.floors.items()}
    for room in ("bench", "export"):  # their rooms have rows of their own
        assert held.pop(room) == set()
    assert {room: sorted(allowed) for room, allowed in drawn.items()} == {
        room: sorted(allowed) for room, allowed in held.items()
    }


def test_every_folder_has_a_line() -> None:
    modules = read_sources(ROOT)
    packages = {name.rpartition(".")[0] for name in modules} - {""}
    folders = set()
    for package in packages:
        parts = package.split(".")
        inside = parts[1:] if parts[1:2] in (["export"], ["bench"]) else parts
        folders.add("/".join(inside) + "/")
    assert folders - set(spans_of(PAGE)) == set()


def test_a_wrong_row_is_found() -> None:
    rows = [
        ["2", "`top`", "every floor below"],
        ["2", "`rooms`", "its rooms, in the order below"],
        ["1", "`ground`", "nothing of edgerep"],
        ["1", "`cellar`", "nothing of edgerep"],
        ["`rooms/one`", "floors 1 to 1 without `cellar`"],
        ["`rooms/two`", "what `rooms/one` may, `rooms/one`"],
    ]
    assert floors_in(rows) == {
        "top": {"ground", "cellar"},
        "ground": set(),
        "cellar": set(),
        "rooms.one": {"ground"},
        "rooms.two": {"ground", "rooms.one"},
    }

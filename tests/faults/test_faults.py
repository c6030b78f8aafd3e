"""A seeded part of `make faults`: what moves an output is caught, what is right passes."""

from __future__ import annotations

import json
from pathlib import Path

from faults import int8_run
from faults.graph_faults import GRAPH_FAULTS
from faults.int8_faults import BESIDE_THE_GRAPH
from faults.package_faults import PACKAGE_FAULTS
from faults.run import run, summary
from faults.subjects import subjects
from faults.tables import table

RESULTS = Path(__file__).parents[2] / "docs" / "results"
GRAPH_KINDS = [*GRAPH_FAULTS][::7]
PACKAGE_KINDS = [*PACKAGE_FAULTS][::6]
INT8_KINDS = [*BESIDE_THE_GRAPH][::5]


def test_a_part_of_the_faults() -> None:
    (detector,) = (subject for subject in subjects() if subject.name == "detector")
    faults, rights = run([detector], GRAPH_KINDS, PACKAGE_KINDS, [0], forms=1, more=False)
    found = summary(faults, rights)
    assert found["planted"] > 10
    assert found["moved"] > 8
    assert [fault for fault in faults if fault.moved and not fault.caught] == []
    assert [right for right in rights if not right.passed] == []


def test_there_are_enough_kinds() -> None:
    assert len(GRAPH_FAULTS) + len(PACKAGE_FAULTS) >= 40


def test_the_result_that_is_kept_holds_what_the_page_says() -> None:
    (path,) = RESULTS.glob("faults-*.json")
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["planted"] >= 500
    assert kept["kinds"] >= 40
    assert kept["moved_and_caught"] == kept["moved"]
    assert kept["right"] >= 60
    assert kept["right_refused"] == 0
    page = (RESULTS.parent / "checks.md").read_text(encoding="utf-8")
    assert f"{kept['planted']:,} faults" in page
    assert f"{kept['moved']:,}" in page
    assert f"{kept['right']} right files" in page
    assert table(kept) in page


def test_a_part_of_the_int8_faults() -> None:
    (segmenter,) = (subject for subject in subjects() if subject.name == "segmenter")
    found = int8_run.run([segmenter], INT8_KINDS, [0], forms=["plain"])
    faults = [one for one in found if one.kind]
    assert len(faults) >= 8
    assert [one for one in faults if one.passed] == []
    assert [one for one in found if not one.kind and not one.passed] == []


def test_the_int8_result_that_is_kept_holds_what_the_page_says() -> None:
    (path,) = RESULTS.glob("int8-faults-*.json")
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["planted"] >= 500
    assert kept["caught"] == kept["planted"]
    assert kept["right"] >= 24
    assert kept["right_refused"] == 0
    page = (RESULTS.parent / "checks.md").read_text(encoding="utf-8")
    assert f"{kept['planted']} faults" in page
    assert f"{kept['right']} right files" in page
    assert int8_run.table(kept) in page

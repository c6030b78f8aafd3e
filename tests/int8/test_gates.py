"""Figures become gates; what is missing, or not a number, is not kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from int8.gates import Gate, gates_of
from int8.judging import judge


def row(case: str, method: str, **fields: float) -> dict[str, Any]:
    return {"case": case, "method": method, **fields}


def kept(rows: list[dict[str, Any]]) -> dict[str, bool]:
    return {gate.name: gate.kept for gate in gates_of([], rows, [])}


def test_a_healthy_chain_has_three_gates() -> None:
    plain = row("repvgg: healthy", "plain", drop=0, agreement=98, sqnr_db=25)
    good = row("repvgg: healthy", "recipe", drop=0.5, agreement=99, sqnr_db=31)
    assert kept([plain, good]) == {
        "repvgg: healthy: agreement, %": True,
        "repvgg: healthy: top-1 drop, points": True,
        "repvgg: healthy: SQNR over plain, dB": True,
    }
    bad = row("repvgg: healthy", "recipe", drop=0.51, agreement=98.9, sqnr_db=30.9)
    assert not any(kept([plain, bad]).values())


def test_a_stressed_chain_is_held_to_the_healthy_one() -> None:
    healthy = row("repvgg: healthy", "recipe", drop=0, agreement=99, sqnr_db=31)
    name = "repvgg: scales 10^±2: SQNR away from the unstressed, dB"
    for sqnr, expected in ((30.1, True), (29.9, False), (32.1, False)):
        stressed = row("repvgg: scales 10^±2", "recipe", drop=0, agreement=99, sqnr_db=sqnr)
        assert kept([healthy, stressed])[name] is expected
        assert name not in kept([stressed])


@pytest.mark.parametrize(
    ("case", "drop", "plain", "expected"),
    [
        ("repvgg: healthy, 16 images", 0.7, 0.4, True),
        ("repvgg: healthy, 16 images", 0.8, 0.4, False),
        ("repvgg: healthy, W6A6", 2.0, 9.0, True),
        ("repvgg: dead identities 1/30", 0.6, 20.0, False),
        ("mixed: healthy", 0.7, 0.0, True),
        ("mixed: healthy", 0.8, 0.0, False),
    ],
)
def test_drops(case: str, drop: float, plain: float, expected: bool) -> None:
    rows = [
        row(case, "recipe", drop=drop, agreement=99, sqnr_db=30),
        row(case, "plain", drop=plain, agreement=90, sqnr_db=20),
    ]
    assert [ok for name, ok in kept(rows).items() if "drop" in name] == [expected]


def test_what_was_not_run_is_missed() -> None:
    rows = [row("repvgg: healthy", "recipe", not_run=1), row("repvgg: healthy", "plain")]
    assert not any(kept(rows).values())
    gates = list(gates_of([], [], [{"network": "RepVGG-A0", "not_run": "no"}]))
    assert [gate.kept for gate in gates] == [False, False]
    assert gates[0].json()["value"] is None


def test_costs_and_float_accuracy() -> None:
    costs = [{"network": "RepVGG-A0", "seconds": 119.0, "peak_bytes": 8.1e9}]
    networks = [{"network": "repvgg", "top1": 96.0, "within": (80, 95)}, {"network": "digits",
                "top1": 99.0, "within": None}]  # fmt: skip
    found = [gate.kept for gate in gates_of(networks, [], costs)]
    assert found == [True, False, True, False]


def test_not_a_number_is_never_kept() -> None:
    assert not Gate("a", math.nan, 0).kept
    assert not Gate("a", math.nan, 0, at_least=True).kept


def test_judgement_of_a_few_logits() -> None:
    labels = np.array([0, 1, 1, 0])
    reference = np.array([[4, 0], [0, 4], [0, 4], [0, 4]], np.float32)
    logits = np.array([[4, 0], [0, 4], [5, 4], [0, 4]], np.float32)
    found = judge(logits, reference, labels)
    assert (found.top1, found.drop, found.agreement) == (50, 25, 75)
    assert found.sqnr_db == pytest.approx(10 * math.log10(64 / 25))
    assert judge(reference, reference, labels).sqnr_db == math.inf

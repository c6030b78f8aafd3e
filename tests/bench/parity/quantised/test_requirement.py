from __future__ import annotations

from typing import Any

import pytest

from edgerep.bench.parity.quantised.requirement import requirement


def _noted(worst_db: float) -> dict[str, Any]:
    return {"int8": {"chosen": "plain", "candidates": [
        {"name": "plain", "worst_db": worst_db, "agreement": 1.0}
    ]}}  # fmt: skip


@pytest.mark.parametrize(("reached", "asked"), [(35.0, 29.0), (45.0, 39.0), (200.0, 39.0)])
def test_what_was_reached_is_asked_for_up_to_what_eight_bits_give(
    reached: float, asked: float
) -> None:
    assert requirement(_noted(reached), 100).sqnr_db == asked

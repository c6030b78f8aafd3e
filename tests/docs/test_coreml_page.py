"""docs/coreml.md names the operators that the table has, all of them and no others."""

from __future__ import annotations

import pytest
from docs.pages import ROOT


def test_the_page_names_every_operator() -> None:
    pytest.importorskip("coremltools", reason="the table emits operations of coremltools")
    from edgerep.export.coreml.operators.table import OPERATORS

    page = (ROOT / "docs/coreml.md").read_text(encoding="utf-8")
    section = page.partition("## Operators")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("| ")]
    named = {name.strip() for row in rows[1:] for name in row.split(",")}
    assert sorted(named) == sorted(OPERATORS)

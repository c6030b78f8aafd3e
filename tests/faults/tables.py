"""The result of `make faults` as the table of docs/checks.md; run as a script, it prints that."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def table(result: Mapping[str, Any]) -> str:
    """How many of each kind were planted, moved an output, and were caught."""
    rows = ["| kind of fault | planted | move an output | of these caught |", "|---|--:|--:|--:|"]
    for kind, count in result["by_kind"].items():
        cells = (kind, count["planted"], count["moved"], count["moved_and_caught"])
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))) + "\n")

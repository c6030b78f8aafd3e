"""How much is drawn at random, and the record of a longer run."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from edgerep.bench.machine.environment import environment

MORE = int(os.environ.get("EDGEREP_FUZZ", "1"))
STARTED = time.perf_counter()


def fuzz(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples, the same ones each time; with `EDGEREP_FUZZ`, that many times more."""
    return settings(
        max_examples=count * MORE,
        deadline=None,
        derandomize=MORE == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def record(variable: str, counts: Counter[str], config: pytest.Config) -> None:
    """Write what was counted to the file that an environment variable names, if it does."""
    if path := os.environ.get(variable):
        found = {
            "schema": 1, "environment": environment(), "factor": MORE,
            "seed": config.getoption("hypothesis_seed", None),
            "seconds": round(time.perf_counter() - STARTED, 1), "counts": dict(counts),
        }  # fmt: skip
        Path(path).write_text(json.dumps(found, indent=1) + "\n")

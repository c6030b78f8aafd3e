"""The JSON file of a bench result: written, and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgerep.artefacts.files import write_text
from edgerep.artefacts.kinds import SCHEMA
from edgerep.bench.memory.memory import Memory
from edgerep.bench.timing.cases import NS_PER_MS, BenchResult, Case, NotRun, Ratio
from edgerep.bench.timing.rounds import Samples
from edgerep.errors import EdgerepError
from edgerep.outside.json_text import finite_json, read_json
from edgerep.outside.results import BENCH
from edgerep.outside.shapes import require_shape


def write_result(result: BenchResult, path: Path) -> None:
    """Write a result as JSON, whole or not at all.

    Raises:
        OptionError, OutputError: The file cannot be written.
    """
    fields = finite_json(result.to_json())
    write_text(path, json.dumps(fields, indent=1, allow_nan=False) + "\n")


def read_result(path: Path) -> BenchResult:
    """Read what `write_result`, or `edgerep bench --json`, wrote.

    Raises:
        EdgerepError: The file cannot be read, is of another schema, or is not a bench result.
    """
    fields = read_json(path)
    try:
        schema = fields["schema"]
        if schema != SCHEMA:
            raise EdgerepError(
                f"{path} has schema {str(schema)[:40]}; this edgerep reads schema {SCHEMA}: update "
                f"edgerep, or measure again"
            )
        require_shape(fields, BENCH)
        return result_from_json(fields)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise EdgerepError(
            f"{path} is not a result of `edgerep bench` ({type(error).__name__}: {error}): "
            f"write one with `edgerep bench --json`"
        ) from error


def result_from_json(fields: Mapping[str, Any]) -> BenchResult:
    """The inverse of `BenchResult.to_json`; quantiles are computed anew from the samples.

    Raises:
        KeyError, TypeError, ValueError, ZeroDivisionError: The fields are not those of a result.
    """
    return BenchResult(
        environment=dict(fields["environment"]),
        settings=dict(fields.get("settings", {})),
        cases=tuple(_case(one) for one in fields["cases"]),
        ratios=tuple(_ratio(one) for one in fields["ratios"]),
        not_run=tuple(NotRun(one["subject"], one["why"]) for one in fields.get("not_run", ())),
        warnings=tuple(fields.get("warnings", ())),
    )


def _case(fields: Mapping[str, Any]) -> Case:
    flat_ns = [_ns(sample) for sample in fields["samples_ms"]]
    per_round = int(fields["samples_per_round"])
    if not flat_ns or len(flat_ns) % per_round:
        raise ValueError(f"{len(flat_ns)} samples are no rounds of {per_round}")
    rounds = [flat_ns[at : at + per_round] for at in range(0, len(flat_ns), per_round)]
    memory = fields.get("memory")
    return Case(
        key=fields["key"],
        name=fields["name"],
        form=fields["form"],
        backend=fields["backend"],
        precision=fields["precision"],
        batch=int(fields["batch"]),
        samples=Samples(
            tuple(map(tuple, rounds)), tuple(_ns(sample) for sample in fields.get("warmup_ms", ()))
        ),
        how=fields["how"],
        memory=None if memory is None else Memory(**memory),
    )


def _ratio(fields: Mapping[str, Any]) -> Ratio:
    low, high = fields["ci95"]
    return Ratio(
        fields["of"], fields["over"], float(fields["ratio"]), (float(low), float(high)),
        fields["verdict"],
    )  # fmt: skip


def _ns(milliseconds: float) -> int:
    return round(milliseconds * NS_PER_MS)

"""The shapes of commands' results: of `--json`, of `deploy.json`, and of what `report` reads.

What is shown is declared, as what it is shown as; the rest is let pass. Nearly all of it may be
missing: older and newer releases wrote less and write more.
"""

from __future__ import annotations

from edgerep.outside.declared import INT8, LARGEST_BATCH, RANGE, SOURCES
from edgerep.outside.shapes import (
    Anything,
    Each,
    Either,
    Fields,
    Flag,
    Null,
    Number,
    Shape,
    Table,
    Text,
    Whole,
    maybe,
)

_FIGURE = Either((Null(), Number(), Text(64)))  # older releases wrote "Infinity"
_TIME = Number(least=0, most=1e12)  # ms; a plot has an axis for it
_RATE = Number(least=0, most=1e12)
_WORDS = maybe(Text())
_COUNT = maybe(Whole(0))
_MOST_ROWS = 100_000

_BLOCK = Fields(
    optional={
        "name": _WORDS,
        "kind": _WORDS,
        "branches": Anything(),
        "float64_max_abs": _FIGURE,
        "float64_rel": _FIGURE,
        "float32_rel": _FIGURE,
    }
)
_LEFT = Fields(optional={"name": _WORDS, "reason": _WORDS})
_ERRORS = Fields(
    optional={
        "float64_rel": _FIGURE,
        "fused_float32_rel": _FIGURE,
        "unfused_float32_rel": _FIGURE,
    }
)
FUSE = Fields(
    {"blocks": Each(_BLOCK, most=_MOST_ROWS)},
    {
        "architecture": _WORDS,
        "source_format": _WORDS,
        "left_unfused": Each(_LEFT, most=_MOST_ROWS),
        "network": maybe(_ERRORS),
        "parameters_before": _COUNT,
        "parameters_after": _COUNT,
    },
)

_BATCH_PARITY = Fields(
    optional={
        "batch": maybe(Whole(1)),
        "max_abs": _FIGURE,
        "rel_l2": _FIGURE,
        "sqnr_db": _FIGURE,
        "cosine": _FIGURE,
        "top1_agreement": _FIGURE,
        "passed": maybe(Flag()),
    }
)
_TOLERANCE = Fields(
    optional={
        "rel_l2": _FIGURE,
        "max_abs": _FIGURE,
        "decidable": maybe(Flag()),
        "least_sqnr_db": _FIGURE,
        "least_agreement": _FIGURE,
    }
)
_OUTPUT = Fields(
    {"name": Text()},
    {"tolerance": maybe(_TOLERANCE), "batches": Each(_BATCH_PARITY, most=_MOST_ROWS)},
)
_EMULATED = Fields(
    {"accumulators": Text(64), "outputs": Each(_OUTPUT, most=_MOST_ROWS)},
    {"how": _WORDS, "decides": maybe(Flag()), "passed": maybe(Flag()), "probes": _COUNT},
)
_STEP = Fields(
    {"name": Text()},
    {"beyond": _FIGURE, "allowed": _FIGURE, "clipped": _FIGURE, "used": _FIGURE, "rows": _COUNT,
     "integers": _COUNT, "images": _COUNT, "passed": maybe(Flag())},
)  # fmt: skip
_LAYER = Fields(
    {"name": Text()},
    {"sqnr_db": _FIGURE, "channel": _COUNT, "steps": _FIGURE, "allowed": _FIGURE,
     "gain": _FIGURE, "gain_allowed": _FIGURE, "gain_channel": _COUNT, "passed": maybe(Flag())},
)  # fmt: skip
_QUANTISED = Fields(
    optional={
        "graph": _WORDS,
        "why_not": _WORDS,
        "is_that_graph": maybe(Flag()),
        "outputs": Each(_OUTPUT, most=_MOST_ROWS),
        "steps": Each(_STEP, most=_MOST_ROWS),
        "layers": Each(_LAYER, most=_MOST_ROWS),
        "requirement": _WORDS,
        "odd_pairs": Each(Text(), most=_MOST_ROWS),
        "passed": maybe(Flag()),
    }
)
_ARTEFACT_PARITY = Fields(
    optional={
        "quantised": maybe(_QUANTISED),
        "path": _WORDS,
        "runtime": _WORDS,
        "precision": _WORDS,
        "ran": maybe(Flag()),
        "why_not": _WORDS,
        "how": _WORDS,
        "overflow": _WORDS,
        "emulated": maybe(Each(_EMULATED, most=64)),
        "not_emulated": _WORDS,
        "notes": maybe(Each(Text(), most=_MOST_ROWS)),
        "passed": maybe(Flag()),
        "tolerance": maybe(_TOLERANCE),
        "batches": Each(_BATCH_PARITY, most=_MOST_ROWS),
        "outputs": maybe(Each(_OUTPUT, most=_MOST_ROWS)),
    }
)
VERIFY = Fields(
    {"artefacts": Each(_ARTEFACT_PARITY, most=_MOST_ROWS), "passed": maybe(Flag())},
    {"reference": _WORDS, "reference_kind": _WORDS, "reference_as_exported": _WORDS},
)

_MEMORY = Fields(
    {"how": Text()},
    {"weights_bytes": maybe(Number()), "activations_bytes": maybe(Number()),
     "peak_bytes": maybe(Number())},
)  # fmt: skip
_CASE = Fields(
    {"key": Text(), "form": Text(), "p50_ms": _TIME},
    {
        "name": Text(),
        "backend": Text(),
        "precision": Text(),
        "batch": Whole(1, LARGEST_BATCH),
        "p90_ms": maybe(_TIME),
        "p99_ms": maybe(_TIME),
        "throughput_per_s": maybe(Number()),
        "how": Text(),
        "memory": maybe(_MEMORY),
        "samples_per_round": Whole(1),
        "samples_ms": Each(_TIME),
        "warmup_ms": Each(_TIME),
    },
)
_RATIO = Fields(
    {
        "of": Text(),
        "over": Text(),
        "ratio": _RATE,
        "ci95": Each(_RATE, least=2, most=2),
        "verdict": Text(),
    }
)
BENCH = Fields(
    {"cases": Each(_CASE, most=10_000)},
    {
        "environment": maybe(Table(Anything())),
        "settings": maybe(Table(Anything())),
        "ratios": Each(_RATIO, most=10_000),
        "not_run": Each(Fields({"subject": Text()}, {"why": _WORDS}), most=_MOST_ROWS),
        "warnings": Each(Text(), most=_MOST_ROWS),
    },
)

_FILE = Fields(
    optional={
        "path": _WORDS,
        "kind": _WORDS,
        "size_bytes": _COUNT,
        "sha256": _WORDS,
        "made_from": maybe(SOURCES),
        "range": maybe(RANGE),
        "int8": maybe(INT8),
    }
)
_ACCURACY = Fields(
    {"correct": Whole(0), "total": Whole(0)},
    {"form": _WORDS, "runtime": _WORDS, "precision": _WORDS},
)
_TARGET = Fields(
    optional={"target": _WORDS, "precision": _WORDS, "path": _WORDS, "state": _WORDS, "why": _WORDS}
)
_FAILURE = Fields(optional={"stage": _WORDS, "why": _WORDS})
DEPLOY = Fields(
    {"stages": Each(Anything(), most=10_000)},
    {
        "deploy": maybe(Fields(optional={"created": _WORDS})),
        "targets": maybe(Each(_TARGET, most=_MOST_ROWS)),
        "failures": maybe(Each(_FAILURE, most=_MOST_ROWS)),
        "fuse": maybe(FUSE),
        "artefacts": maybe(Each(_FILE, most=_MOST_ROWS)),
        "verify": maybe(VERIFY),
        "accuracy": maybe(Each(_ACCURACY, most=_MOST_ROWS)),
        "bench": maybe(BENCH),
    },
)

# By the fields that tell them apart, in the order in which they are tried.
RESULTS: tuple[tuple[str, frozenset[str], Shape], ...] = (
    ("deploy", frozenset({"stages"}), DEPLOY),
    ("bench", frozenset({"cases"}), BENCH),
    ("fuse", frozenset({"blocks"}), FUSE),
    ("verify", frozenset({"artefacts", "passed"}), VERIFY),
)

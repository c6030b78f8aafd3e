"""The shapes of what edgerep writes beside and into its artefacts: records and notes.

The shapes of commands' results are in `results`.
"""

from __future__ import annotations

from edgerep.outside.shapes import (
    Anything,
    Each,
    Fields,
    Flag,
    Number,
    Shape,
    Table,
    Text,
    Whole,
    maybe,
)

LARGEST_BATCH = 1 << 16

BATCH = Each(Whole(1, LARGEST_BATCH), least=3, most=3)
_TENSOR = Fields(
    {
        "name": Text(4096),
        "dtype": Text(32),
        "shape": Each(maybe(Whole(0, 2**31)), most=16),
    }
)
_PREPROCESSING = Fields(
    {
        "input": Text(choices=("float", "uint8")),
        "mean": Each(Number(), most=4096),
        "std": Each(Number(above=0), most=4096),
    }
)
_MOST_NODES = 100_000  # of a graph
RANGE = Fields(
    {"measured_on": maybe(Text(64)), "kept_fp32": Each(Text(4096), most=_MOST_NODES)},
    {
        "why_not": Text(),
        "count": Whole(0),
        "limit": Number(above=0),
        "layers": Each(
            Fields(
                {
                    "name": Text(4096),
                    "operator": Text(256),
                    "low": Number(),
                    "high": Number(),
                    "typical": Number(least=0),
                    "before": Number(least=0),
                }
            ),
            most=_MOST_NODES,
        ),
        "rescaled": Fields(
            {"channels": Whole(0), "largest": Number(above=0), "smallest": Number(above=0)}
        ),
        "warnings": Each(Text(), most=_MOST_NODES),
    },
)
INT8 = Fields(  # of a graph in eight bits: what was tried, and what came of it
    {
        "chosen": Text(),
        "candidates": Each(
            Fields(
                {"name": Text()},
                {"sqnr_db": Number(), "worst_db": Number(), "parts": Whole(0),
                 "agreement": maybe(Number())},
            ),
            most=64,
        ),
    },
    {
        "layers": Each(
            Fields(
                {"name": Text()},
                {"operator": Text(64), "input_step": Number(), "sqnr_db": Table(Number())},
            ),
            most=_MOST_NODES,
        ),
        "kept": Table(Text()),
        "not_equalised": Table(Text()),
        "equalised_channels": Whole(0),
        "images": Whole(0),
        "held_out": Whole(0),
    },
)  # fmt: skip
_OPTIONS = Fields(
    optional={
        "preprocessing": maybe(_PREPROCESSING),
        "repaired": Each(Text(), most=64),
        "range": RANGE,
        "int8": maybe(INT8),
    }
)
_SOURCE = Fields(
    {"kind": Text(64)},
    {
        "name": Text(4096),
        "sha256": maybe(Text(64)),
        "form": maybe(Text(64)),
        "format": maybe(Text(4096)),
        "network": maybe(Text(4096)),
        "options": _OPTIONS,
    },
)
SOURCES = Each(_SOURCE, most=64)
_DETAILS = Fields(
    optional={
        "form": Text(64),
        "precision": Text(64),
        "batch": BATCH,
        "inputs": Each(_TENSOR, most=4096),
        "outputs": Each(_TENSOR, most=4096),
        "operators": Table(Whole(0)),
        "opset": Whole(0),
        "softmax": Text(64),
        "runtime": Text(64),
        "runtime_version": Text(64),
        "tf32": Flag(),
        "compute_capabilities": Each(Text(64), most=64),
        "built_on": maybe(Table(Anything())),
        "build_seconds": Number(),
        "size_bytes": Whole(0),
        "log": Table(Whole(0)),
        "notes": Each(Text()),
        "tensors": Whole(0),
    }
)
_PARITY = Fields(
    optional={
        "path": Text(),
        "reference": maybe(Text()),
        "reference_kind": maybe(Text()),
        "runtime": maybe(Text()),
        "precision": maybe(Text()),
        "ran": Flag(),
        "why_not": maybe(Text()),
        "how": maybe(Text()),
        "passed": maybe(Flag()),
    }
)
_RECORD_FIELDS: dict[str, Shape] = {
    "schema": Whole(1),
    "kind": Text(64),
    "sha256": Text(64),
    "made_from": SOURCES,
    "versions": Table(Text(4096)),
    "options": _OPTIONS,
    "details": _DETAILS,
}
_RECORD_OPTIONS: dict[str, Shape] = {"created": Text(64), "parity": maybe(_PARITY)}
_PREVIOUS = Fields(
    {
        "sha256": Text(64),
        "record": maybe(Fields(_RECORD_FIELDS, _RECORD_OPTIONS, closed=True)),
    }
)
RECORD = Fields(_RECORD_FIELDS, {**_RECORD_OPTIONS, "replaces": _PREVIOUS}, closed=True)
_NAMES = Each(Text(4096), most=4096)
ONNX_NOTE = Fields(
    {"form": Text(64), "batch": BATCH, "made_from": SOURCES, "options": _OPTIONS},
    {"inputs": _NAMES, "outputs": _NAMES},
)
PACKAGE_NOTE = Fields(
    optional={
        "form": Text(64),
        "softmax": Text(64),
        "pixels": _NAMES,
        "made_from": SOURCES,
        "inputs": _NAMES,
        "outputs": _NAMES,
        "labels": Text(64),
    }
)
PACKAGE_MANIFEST = Fields(
    {
        "fileFormatVersion": Text(64),
        "itemInfoEntries": Table(Fields({"path": Text(4096)}, {"name": Text(), "author": Text()})),
        "rootModelIdentifier": Text(256),
    }
)

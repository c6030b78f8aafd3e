"""An engine on disk: what it takes and gives, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.records import Record, read_record, versions_of
from edgerep.artefacts.tensors import TensorSpec
from edgerep.devices import first_cuda_device
from edgerep.errors import EngineError
from edgerep.export.engine.header import read_plan
from edgerep.export.engine.runtime import LogLine

_PACKAGES = ("onnx", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialized engine on disk.

    Attributes:
        path: The file.
        sha256: Of the file.
        runtime: "tensorrt" or "tensorrt-rtx".
        runtime_version: Of the library that built it, from the engine's own header.
        precision: Of the graph: "fp32", "fp16" or "int8".
        form: Of the graph: "fused", "unfused", ...
        batch: The batch sizes that it takes.
        inputs: In the order of the graph; None in a shape is the dynamic batch.
        outputs: In the order of the graph.
        made_from: As in `edgerep.artefacts.records.Record`: the ONNX graph, then its sources.
        options: What was asked of the build.
        build_seconds: How long the build took.
        size_bytes: Of the file.
    """

    path: Path
    sha256: str
    runtime: str
    runtime_version: str
    precision: str
    form: str
    batch: BatchProfile
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    made_from: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]
    build_seconds: float
    size_bytes: int


def open_engine(path: str | Path) -> Engine:
    """An engine that edgerep built, from its header and its record; needs no GPU.

    Raises:
        EngineError: The file is no engine or damaged, or it has no record, and so nothing here
            knows its inputs; `read_plan` reads what such an engine says of itself.
        EdgerepError: The record is malformed, or of another file.
    """
    path = Path(path)
    plan = read_plan(path)
    record = read_record(path)
    if record is None:
        raise EngineError(
            f"{path} has no record beside it ({path.name}.json), so its inputs are not known: "
            f"bring the record along, or build the engine with `edgerep build-engine`"
        )
    details = record.details
    try:
        return Engine(
            path=path,
            sha256=record.sha256,
            runtime=plan.runtime,
            runtime_version=plan.version,
            precision=details["precision"],
            form=details["form"],
            batch=BatchProfile(*details["batch"]),
            inputs=_specs(details["inputs"]),
            outputs=_specs(details["outputs"]),
            made_from=record.made_from,
            options=record.options,
            build_seconds=details["build_seconds"],
            size_bytes=plan.size_bytes,
        )
    except (KeyError, TypeError) as error:
        raise EngineError(
            f"{path.name}.json is not the record of an engine ({error!r}): build the engine again"
        ) from error


def engine_record(engine: Engine, lines: Sequence[LogLine], notes: Sequence[str]) -> Record:
    """The record of an engine just built, with what the builder logged and what to know of it."""
    device = first_cuda_device() if engine.runtime == "tensorrt" else None
    count = {name: sum(line.severity == name for line in lines) for name in ("WARNING", "ERROR")}
    return Record(
        kind="engine",
        sha256=engine.sha256,
        made_from=engine.made_from,
        versions=versions_of(_PACKAGES),
        options=engine.options,
        details={
            "runtime": engine.runtime,
            "runtime_version": engine.runtime_version,
            "precision": engine.precision,
            "form": engine.form,
            "batch": list(astuple(engine.batch)),
            "inputs": [asdict(spec) for spec in engine.inputs],
            "outputs": [asdict(spec) for spec in engine.outputs],
            "tf32": False,
            "compute_capabilities": engine.options["compute_capability"],
            "built_on": None if device is None else asdict(device),
            "build_seconds": engine.build_seconds,
            "size_bytes": engine.size_bytes,
            "log": {"warnings": count["WARNING"], "errors": count["ERROR"]},
            "notes": list(notes),
        },
    )


def _specs(fields: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in fields)

"""An engine on disk: what it takes and gives, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgerep.artefacts.artefact import Artefact, ends_from
from edgerep.artefacts.records import Record, read_record
from edgerep.devices import first_cuda_device
from edgerep.errors import EngineError, OptionError
from edgerep.export.engine.header import read_plan
from edgerep.export.engine.runtime import LogLine

_PACKAGES = ("onnx", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(Artefact):
    """A serialized engine on disk; its precision, form, inputs and outputs are those of its graph.

    Attributes:
        runtime: "tensorrt" or "tensorrt-rtx".
        runtime_version: Of the library that built it, from the engine's own header.
        options: What was asked of the build.
        build_seconds: How long the build took.
        size_bytes: Of the file.
    """

    kind: ClassVar[str] = "engine"

    runtime: str
    runtime_version: str
    options: Mapping[str, Any]
    build_seconds: float
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        return {
            **Artefact.to_json(self),
            "runtime": self.runtime,
            "runtime_version": self.runtime_version,
            "size_bytes": self.size_bytes,
            "build_seconds": self.build_seconds,
        }


def open_engine(path: str | Path) -> Engine:
    """An engine that edgerep built, from its header and its record; needs no GPU.

    Raises:
        EngineError: The file is no engine or damaged, or it has no record, and so nothing here
            knows its inputs; `read_plan` reads what such an engine says of itself.
        EdgerepError: The record is malformed, of another schema, or of another file.
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
            made_from=record.made_from,
            options=record.options,
            build_seconds=details["build_seconds"],
            size_bytes=plan.size_bytes,
            **ends_from(details),
        )
    except (KeyError, TypeError, OptionError) as error:
        raise EngineError(
            f"{path.name}.json is not the record of an engine ({error!r}): build the engine again"
        ) from error


def engine_record(engine: Engine, lines: Sequence[LogLine], notes: Sequence[str]) -> Record:
    """The record of an engine just built.

    Args:
        engine: The engine.
        lines: What the vendor logged; its warnings and errors are counted.
        notes: What a reader must know of this engine, in words.
    """
    device = first_cuda_device() if engine.runtime == "tensorrt" else None
    count = {name: sum(line.severity == name for line in lines) for name in ("WARNING", "ERROR")}
    return engine.record(
        _PACKAGES,
        engine.options,
        runtime=engine.runtime,
        runtime_version=engine.runtime_version,
        tf32=False,
        compute_capabilities=engine.options["compute_capability"],
        built_on=None if device is None else asdict(device),
        build_seconds=engine.build_seconds,
        size_bytes=engine.size_bytes,
        log={"warnings": count["WARNING"], "errors": count["ERROR"]},
        notes=list(notes),
    )

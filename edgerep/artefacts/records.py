"""The birth certificate that lies beside every artefact: `model.engine` and `model.engine.json`."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from edgerep import __version__
from edgerep.artefacts.files import replacing, sha256_of, write_text
from edgerep.errors import EdgerepError

SCHEMA = 1

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Record:
    """What an artefact was made from, by what, and how.

    Attributes:
        kind: "onnx", "engine", "coreml" or "weights".
        sha256: Of the artefact itself.
        made_from: The inputs, nearest first: each has `kind`, `name` and `sha256`, down to the
            checkpoint.
        versions: Of edgerep, Python and every package that took part.
        options: The options used, defaults included.
        details: What this kind has to say: inputs, outputs, precision, profile, ...
        created: UTC, ISO 8601.
        parity: The comparison with the reference, once there is one.
    """

    kind: str
    sha256: str
    made_from: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, str]
    options: Mapping[str, Any]
    details: Mapping[str, Any]
    created: str = field(default_factory=lambda: utc_now())
    parity: Mapping[str, Any] | None = None
    schema: int = SCHEMA


def utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def record_path(artefact: Path) -> Path:
    return artefact.with_name(artefact.name + ".json")


def write_record(artefact: Path, record: Record) -> None:
    """Write the record beside its artefact, whole or not at all."""
    write_text(record_path(artefact), json.dumps(asdict(record), indent=2) + "\n")


def write_and_certify(
    path: Path,
    write: Callable[[Path], object],
    describe: Callable[[], Made],
    record: Callable[[Made], Record],
    *,
    folder: bool = False,
) -> Made:
    """Write an artefact, whole or not at all, and its record beside it.

    Args:
        path: Where the artefact goes.
        write: Writes the artefact to the place that it is given.
        describe: What there is to say of the artefact, asked once it is at `path`.
        record: What was said, as a record.
        folder: The artefact is a folder, not a file.

    Returns:
        What `describe` gave.

    Raises:
        OptionError, OutputError: The artefact cannot be written; what was there before stays.
    """
    with replacing(path, folder=folder) as partial:
        write(partial)
    made = describe()
    write_record(path, record(made))
    return made


def add_parity(artefact: Path, parity: Mapping[str, Any]) -> None:
    """Put the comparison with the reference into an artefact's record."""
    record = read_record(artefact)
    if record is not None:
        write_record(artefact, replace(record, parity=parity))


def read_record(artefact: Path) -> Record | None:
    """The record beside an artefact; None where there is none.

    Raises:
        EdgerepError: The record is malformed, of a newer schema, or of another file than the one
            it lies beside.
    """
    path = record_path(artefact)
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        schema = fields["schema"]
        if schema != SCHEMA:
            raise EdgerepError(
                f"{path} has schema {schema}; this edgerep reads schema {SCHEMA}: update edgerep"
            )
        fields["made_from"] = tuple(fields["made_from"])
        record = Record(**fields)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EdgerepError(
            f"{path} is not a record that edgerep wrote ({error}): delete it, or make the "
            f"artefact again"
        ) from error
    if record.sha256 != sha256_of(artefact):
        raise EdgerepError(
            f"{path} describes another file than {artefact}: their SHA-256 differ. One of the two "
            f"was replaced; make the artefact again, or delete the record"
        )
    return record


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of edgerep, Python and those of `packages` that are installed."""
    versions = {"edgerep": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def finite_json(value: Any) -> Any:
    """The same structure with NaN and infinities as None, which JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    return value

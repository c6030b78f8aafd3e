"""The record that lies beside every artefact: `model.engine.json` beside `model.engine`."""

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
from edgerep.artefacts.kinds import SCHEMA
from edgerep.errors import EdgerepError

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Record:
    """What an artefact was made from, by what, and how.

    Attributes:
        kind: "onnx", "engine", "coreml" or "weights".
        sha256: Of the artefact itself.
        made_from: The sources, nearest first, down to the checkpoint: each has `kind`, `name` and
            `sha256`.
        versions: Of edgerep, Python and every package that took part.
        options: The options used, defaults included.
        details: What this kind has to say: inputs, outputs, precision, batch, ...
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
    """Write the record beside its artefact, whole or not at all.

    Raises:
        OptionError, OutputError: The record cannot be written.
    """
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
        write: Called first, with a temporary path, to write the artefact there.
        describe: Called once the artefact is at `path`; describes it.
        record: Called with what `describe` gave; makes a record of it.
        folder: The artefact is a folder, not a file.

    Returns:
        What `describe` gave.

    Raises:
        OptionError, OutputError: The artefact cannot be written, and what was there before stays;
            or the record cannot be.
        EdgerepError: Whatever the three callables raise; what `write` raises leaves what was there
            before.
    """
    with replacing(path, folder=folder) as partial:
        write(partial)
    made = describe()
    write_record(path, record(made))
    return made


def add_parity(artefact: Path, parity: Mapping[str, Any]) -> None:
    """Put the comparison with the reference into an artefact's record, where there is a record.

    Raises:
        EdgerepError: The record is malformed, of another schema, or of another file.
        OptionError, OutputError: The record cannot be written.
    """
    record = read_record(artefact)
    if record is not None:
        write_record(artefact, replace(record, parity=parity))


def read_record(artefact: Path) -> Record | None:
    """The record beside an artefact; None where there is none.

    Raises:
        EdgerepError: The record is malformed, of another schema, or of another file than the one
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
    """`value` with None for NaN and infinities, which JSON has no word for; tuples become lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    return value

"""The record that lies beside every artefact: `model.engine.json` beside `model.engine`."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from edgerep import __version__
from edgerep.artefacts.files import replacing, sha256_of, write_text
from edgerep.artefacts.kinds import SCHEMA, kind_of
from edgerep.errors import EdgerepError
from edgerep.outside.declared import RECORD
from edgerep.outside.json_text import LARGEST_JSON, JsonError, finite_json, parse_json
from edgerep.outside.regular import read_regular
from edgerep.outside.shapes import ShapeError, require_shape

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
        replaces: Only while the artefact takes the place of another: `sha256` of the one that is
            still there, and its `record`, or None where it has none.
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
    replaces: Mapping[str, Any] | None = None


def utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def record_path(artefact: Path) -> Path:
    return artefact.with_name(artefact.name + ".json")


def write_record(artefact: Path, record: Record) -> None:
    """Write the record beside its artefact, whole or not at all.

    Raises:
        OptionError, OutputError: The record cannot be written.
    """
    text = json.dumps(_fields(record), indent=2, allow_nan=False)
    write_text(record_path(artefact), text + "\n")


def write_and_certify(
    path: Path,
    write: Callable[[Path], object],
    describe: Callable[[Path], Made],
    record: Callable[[Made], Record],
    *,
    folder: bool = False,
) -> Made:
    """Write an artefact, whole or not at all, and its record beside it.

    At no instant do the two disagree, also if the process is killed: before the artefact takes the
    place of what is there, its record does, and says of both what they are; afterwards the record
    says it of the new one alone.

    Args:
        path: Where the artefact goes.
        write: Called first, with a temporary path, to write the artefact there.
        describe: Called with that temporary path, once the artefact is written; describes it as
            what will be at `path`.
        record: Called with what `describe` gave; makes a record of it.
        folder: The artefact is a folder, not a file.

    Returns:
        What `describe` gave.

    Raises:
        OptionError, OutputError: The artefact or its record cannot be written; what was there
            before stays.
        EdgerepError: Whatever the three callables raise, which leaves what was there before.
    """
    with replacing(path, folder=folder) as partial:
        write(partial)
        made = describe(partial)
        final = record(made)
        previous = _previous(path)
        write_record(path, final if previous is None else replace(final, replaces=previous))
    if previous is not None:
        write_record(path, final)
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
    if not path.exists():
        return None
    content = read_regular(path, most=LARGEST_JSON)
    try:
        fields = parse_json(content)
        schema = fields.get("schema") if isinstance(fields, dict) else None
        if type(schema) is int and schema > SCHEMA:
            raise EdgerepError(
                f"{path} has schema {schema}; this edgerep reads schema {SCHEMA}: update edgerep"
            )
        require_shape(fields, RECORD)
        kind = kind_of(artefact)
        if kind is not None and fields["kind"] != kind:
            raise ShapeError(f"it is of the kind {fields['kind']!r}, not {kind!r}")
    except (JsonError, ShapeError) as error:
        raise EdgerepError(
            f"{path} is not a record that edgerep wrote ({error}): delete it, or make the "
            f"artefact again"
        ) from error
    found = sha256_of(artefact)
    previous = fields.pop("replaces", None)
    if previous is not None and previous["sha256"] == found:  # it was not replaced in the end
        return None if previous["record"] is None else _record(previous["record"])
    if fields["sha256"] != found:
        raise EdgerepError(
            f"{path} describes another file than {artefact}: their SHA-256 differ. One of the two "
            f"was replaced; make the artefact again, or delete the record"
        )
    return _record(fields)


def require_own_record(artefact: Path) -> None:
    """Refuse an artefact beside which the record of another one lies.

    Somebody else's JSON may lie there (`voice.onnx.json` is a configuration elsewhere): what has
    none of a record's words says nothing.

    Raises:
        EdgerepError: The record is damaged, or of another file: one of the two was replaced, or
            the artefact was changed after it was made.
    """
    path = record_path(artefact)
    if path.exists():
        content = read_regular(path, most=LARGEST_JSON)
        if all(word in content for word in (b'"sha256"', b'"made_from"')):
            read_record(artefact)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of edgerep, Python and those of `packages` that are installed."""
    versions = {"edgerep": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _record(fields: Mapping[str, Any]) -> Record:
    """A record from fields of the declared shape."""
    return Record(**{**fields, "made_from": tuple(fields["made_from"])})


def _fields(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = finite_json(asdict(record))
    if fields["replaces"] is None:
        del fields["replaces"]
    return fields


def _previous(path: Path) -> dict[str, Any] | None:
    """What `Record.replaces` says of the artefact at `path`; None where there is none."""
    if not path.exists():
        return None
    try:
        digest = sha256_of(path)
    except EdgerepError:  # no artefact of ours stands there
        return None
    try:
        record = read_record(path)
    except EdgerepError:  # it was not its own before; nobody can say whose it is
        record = None
    return {"sha256": digest, "record": None if record is None else _fields(record)}

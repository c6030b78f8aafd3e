"""`edgerep inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgerep.artefacts.kinds import SCHEMA, kind_of, suffixes_of
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.sources import require_there
from edgerep.errors import EdgerepError, MissingRuntimeError

if TYPE_CHECKING:
    from edgerep.artefacts.records import Record


@click.command(
    "inspect",
    cls=Command,
    examples=("edgerep inspect RepVGG-A0-train.pth", "edgerep inspect a0.engine --json"),
)
@click.argument("file", type=click.Path(path_type=Path))
@console_options
def command(file: Path, console: Console) -> None:
    """Say what FILE is, how it was made, and whether it can run here.

    FILE is a checkpoint, an ONNX file, an engine or a Core ML package. No GPU is needed.
    """
    require_there(file)
    from edgerep.artefacts.files import sha256_of, size_of
    from edgerep.artefacts.records import read_record

    described = _describe(file)  # first, which refuses what it would be idle to hash
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "path": str(file),
        "size_bytes": size_of(file),
        "sha256": described.get("sha256") or sha256_of(file),
        **described,
    }
    record = read_record(file)
    result["record"] = asdict(record) if record else None
    if result["kind"] == "engine":
        result["good_for"] = list(_uses(file, result, record))
    console.finish(result, _text(result, record))


def _uses(file: Path, result: Mapping[str, Any], record: Record | None) -> tuple[str, ...]:
    """Where an engine runs, from its header and, where there is one, its record."""
    from edgerep.export.engine.purpose import good_for

    nearest = next(iter(record.made_from), {}) if record else {}
    return good_for(
        result["runtime"],
        result["runtime_version"],
        record.options if record else {},
        engine=file.name,
        graph=str(nearest["name"]) if nearest.get("kind") == "onnx" and "name" in nearest else None,
        built_on=record.details.get("built_on") if record else None,
    )


def _describe(file: Path) -> dict[str, Any]:
    kind = kind_of(file)
    if kind is None and not file.is_dir():
        kind = "weights"  # `.pth.tar`, or no suffix: what it is, its bytes say
    if kind is None:
        raise EdgerepError(
            f"{file} is of no kind that edgerep knows: "
            f"{suffixes_of('weights', 'onnx', 'engine', 'coreml')}"
        )
    describe = {"onnx": _onnx, "engine": _engine, "coreml": _package, "weights": _checkpoint}
    return describe[kind](file)


def _onnx(file: Path) -> dict[str, Any]:
    from edgerep.export.graph.onnx_file import describe_model, read_model
    from edgerep.export.graph.quantised_layers import quantisation_in

    model = read_model(file)
    graph = describe_model(model, file)
    described = {"kind": graph.kind, **graph.to_json()}
    layers = quantisation_in(model, graph.options.get("int8"))
    return described if not layers else {**described, **_quantised(model, layers)}


def _quantised(model: Any, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The scales of a quantised graph, and what the parsers of TensorRT make of them."""
    from edgerep.export.engine.quantisation_rules import objections_to

    releases = (("TensorRT 8.6", "8.6", False), ("TensorRT 10", "10.0", False),
                ("TensorRT 11", "11.0", False), ("TensorRT-RTX", "1.7", True))  # fmt: skip
    found = {name: objections_to(model, number, rtx=rtx) for name, number, rtx in releases}
    refused = {name: [asdict(one) for one in objections] for name, objections in found.items()}
    return {"quantised_layers": layers, "refused_by": refused}


def _engine(file: Path) -> dict[str, Any]:
    from edgerep.bench.sessions.engine.conditions import why_not
    from edgerep.bench.sessions.engine.validity import validity_of
    from edgerep.export.engine.header import read_plan

    plan = read_plan(file)
    reason = why_not(file)
    try:
        validity = validity_of(file, plan)
    except MissingRuntimeError:  # `why_not` says so too, where it is what matters
        validity = None
    return {
        "kind": "engine",
        "runtime": plan.runtime,
        "runtime_version": plan.version,
        "metadata": plan.metadata,
        "runs_here": reason is None,
        "why_not": reason,
        "validity": asdict(validity) if validity else None,
    }


def _package(file: Path) -> dict[str, Any]:
    import sys

    from edgerep.export.coreml.package import open_package

    package = open_package(file)
    mac = sys.platform == "darwin"
    return {
        "kind": package.kind,
        **package.to_json(),
        "runs_here": mac,
        "why_not": None
        if mac
        else "Core ML runs on macOS and iOS only; here the saved program "
        "is evaluated by the reference interpreter",
    }


def _checkpoint(file: Path) -> dict[str, Any]:
    from edgerep.checkpoints.architecture_detection import recognise
    from edgerep.checkpoints.format_detection import identify
    from edgerep.checkpoints.reading import read_checkpoint

    checkpoint = read_checkpoint(file)
    origin = _own_network(file)
    if origin is not None:
        return {
            "kind": "checkpoint",
            "format": "fused weights of an own network",
            "form": "fused",
            "architecture": origin,
            "tensors": len(checkpoint.tensors),
            "notes": list(checkpoint.notes),
        }
    identified = identify(checkpoint.tensors, file.name)
    found = recognise(identified, file.name)
    return {
        "kind": "checkpoint",
        "format": identified.written_by.title,
        "form": found.form,
        "architecture": found.architecture.name,
        "details": asdict(found.architecture),
        "tensors": len(checkpoint.tensors),
        "notes": [*checkpoint.notes, *identified.notes],
    }


def _own_network(file: Path) -> str | None:
    """What built the network of the user's own whose fused weights a file holds, by its record."""
    from edgerep.artefacts.records import read_record

    record = read_record(file)
    found = (entry.get("network") for entry in record.made_from) if record else iter(())
    return next((str(name) for name in found if name), None)


def _text(result: dict[str, Any], record: Record | None) -> str:
    from edgerep.bench.report.text.quantised_layers import quantised_lines
    from edgerep.bench.report.text.ranges import range_lines
    from edgerep.bench.report.text.table import pairs

    apart = ("schema", "record", "validity", "good_for", "quantised_layers", "refused_by")
    shown = {key: _short(value) for key, value in result.items() if key not in apart}
    lines = [(key, _value(value)) for key, value in shown.items() if value not in (None, [])]
    if validity := result.get("validity"):
        reasons = "; ".join(validity["reasons"])
        unknown = "the runtime does not say: it judges an engine only where there is a driver"
        words = unknown if validity["verdict"] == "unknown" else validity["verdict"]
        lines.append(("validity", f"{words}{': ' if reasons else ''}{reasons}"))
    lines += [("good for", use) for use in result.get("good_for", ())]
    options = _graph_options(result, record)
    lines += [("range", line) for line in range_lines(options)]
    lines += [("int8", line) for line in quantised_lines(result, options)]
    if record is None:
        lines.append(("record", f"none ({Path(result['path']).name}.json is not there)"))
        return _with_tables(pairs(lines), result, options)
    lines.append(("made", f"{record.created}, {_value(dict(record.versions))}"))
    if record.kind == "engine":
        lines += _engine_lines(record)
    for entry in record.made_from:
        digest = entry.get("sha256") or "no file"
        network = entry.get("network")
        name = entry.get("name", "without a name")
        of = f" of {network}" if network and network != name else ""
        lines.append(("  from", f"{entry['kind']} {name}{of}, {digest[:16]}"))
    if record.parity is not None:
        verdict = {True: "agrees", False: "DISAGREES", None: "not run"}[record.parity.get("passed")]
        against = record.parity.get("reference")
        said = f" with {against}" if against else ""
        lines.append(("parity", f"{verdict}{said} ({record.parity.get('runtime')})"))
        for one in record.parity.get("emulated") or ():
            if isinstance(one, dict):
                passed = "agrees" if one.get("passed") else "DISAGREES"
                lines.append(("  emulated", f"{passed}: {one.get('how')}"))
    return _with_tables(pairs(lines), result, options)


def _graph_options(result: Mapping[str, Any], record: Record | None) -> Mapping[str, Any]:
    """The options of a graph, or of the graph that an engine or a package was made from."""
    if result["kind"] == "onnx":
        return dict(result.get("options") or {})
    sources = result.get("made_from") or (record.made_from if record else ())
    return next((one["options"] for one in sources if one.get("options")), {})


def _with_tables(text: str, result: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    from edgerep.bench.report.text.quantised_layers import quantised_table
    from edgerep.bench.report.text.ranges import range_table

    tables = (range_table(options), quantised_table(result, options))
    return "\n\n".join([text, *filter(None, tables)])


def _short(value: Any) -> Any:
    """A value without what was measured of each layer, which has a table of its own."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items() if key not in ("range", "int8")}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return value


def _engine_lines(record: Record) -> list[tuple[str, str]]:
    """What an engine's record says of where it runs and what it takes."""
    details = record.details
    targets = details.get("compute_capabilities") or ()
    built_on = details.get("built_on") or {}
    said = {
        "  built for": ", ".join(targets),
        "  built on": _value(built_on) if built_on else "",
        "  precision": details.get("precision", ""),
        "  batch": ":".join(map(str, details.get("batch", ()))),
        "  inputs": _value(details.get("inputs", ())),
        "  outputs": _value(details.get("outputs", ())),
    }
    return [(name, words) for name, words in said.items() if words not in ("", "[]")]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], dict):
            return "; ".join(_value(item) for item in value)
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if value is None:
        return "dynamic"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

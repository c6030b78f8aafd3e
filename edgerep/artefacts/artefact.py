"""What an ONNX graph, an engine and a Core ML package have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.records import Record, versions_of
from edgerep.artefacts.tensors import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """An ONNX graph, an engine or a Core ML package on disk.

    Attributes:
        kind: "onnx", "engine" or "coreml".
        path: The file; the folder of a package.
        sha256: Of the file; of a package, over the names and hashes of all its files.
        precision: One of `PRECISIONS`, as the graph's own types state it.
        form: "fused", "unfused" or "unfused-folded"; "unknown" for a file edgerep did not write.
        batch: The batch sizes it is made for.
        inputs: In the order of the graph; None in a shape is the dynamic batch.
        outputs: In the order of the graph.
        made_from: The sources, nearest first, down to the checkpoint: each has `kind`, `name` and
            `sha256`, a graph its `form` and `options` too. Empty for a file edgerep did not write.
    """

    kind: ClassVar[str]

    path: Path
    sha256: str
    precision: str
    form: str
    batch: BatchProfile
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    made_from: tuple[Mapping[str, Any], ...]

    @property
    def lineage(self) -> tuple[Mapping[str, Any], ...]:
        """The `made_from` of anything made from this artefact: itself, then its own sources."""
        return (self.entry(), *self.made_from)

    def entry(self) -> dict[str, Any]:
        """This artefact as one source in the `made_from` of anything made from it."""
        return {"kind": self.kind, "name": self.path.name, "sha256": self.sha256}

    def ends(self) -> dict[str, Any]:
        """Form, precision, batch, inputs and outputs of the artefact, as its record has them."""
        return {
            "form": self.form,
            "precision": self.precision,
            "batch": self.batch.to_json(),
            "inputs": [asdict(spec) for spec in self.inputs],
            "outputs": [asdict(spec) for spec in self.outputs],
        }

    def to_json(self) -> dict[str, Any]:
        """What commands that make or inspect an artefact print about it as JSON."""
        made_from = [dict(entry) for entry in self.made_from]
        return {"sha256": self.sha256, **self.ends(), "made_from": made_from}

    def record(self, packages: Iterable[str], options: Mapping[str, Any], **details: Any) -> Record:
        """The record of the artefact, just made.

        Args:
            packages: Distributions that took part in making it, by name.
            options: The options that it was made with, defaults included.
            **details: What its kind has to say beside `ends`.
        """
        return Record(
            kind=self.kind,
            sha256=self.sha256,
            made_from=self.made_from,
            versions=versions_of(packages),
            options=options,
            details={**self.ends(), **details},
        )


def ends_from(details: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an `Artefact` that its `ends` gave to a record, read back.

    Args:
        details: Those of the record.

    Raises:
        KeyError, TypeError: The record is of something else.
        OptionError: The batch sizes make no profile.
    """
    return {
        "form": details["form"],
        "precision": details["precision"],
        "batch": BatchProfile(*details["batch"]),
        "inputs": _specs(details["inputs"]),
        "outputs": _specs(details["outputs"]),
    }


def _specs(fields: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in fields)

"""Compare artefacts with their reference, and put the result into their records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgerep.artefacts.artefact import Artefact
from edgerep.artefacts.kinds import SCHEMA
from edgerep.artefacts.records import add_parity
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.parity.report import ParityReport
from edgerep.bench.parity.verification import verify
from edgerep.bench.parity.words import as_exported_in_words
from edgerep.bench.report.text.parity import one_line
from edgerep.commands.shared.console import Console
from edgerep.data.samples import ImageSource
from edgerep.errors import OnnxError
from edgerep.outside.json_text import finite_json


def check(
    reference: nn.Module | Path,
    artefacts: Sequence[Artefact],
    images: ImageSource | None,
    console: Console,
    *,
    max_images: int | None = None,
) -> ParityReport | None:
    """Compare artefacts with their reference, put the result into their records, and say it.

    An ONNX file that cannot be a reference is no failure of the artefact made from it: that is
    said, and the result is None.

    Args:
        reference: The network, or the path of an ONNX file.
        artefacts: At their paths, with their records.
        images: To compare on too.
        console: Told the result of each artefact.
        max_images: How many of the images are compared, at most.

    Raises:
        DataError: The images do not fit.
        EdgerepError: An artefact or a record cannot be read, or a runtime breaks down.
    """
    console.doing("parity", "running the reference in float64")
    truth: nn.Module | OnnxReference
    if isinstance(reference, Path):
        try:
            truth = OnnxReference(reference)
        except OnnxError as error:
            console.progress("parity", f"not compared: {error}")
            return None
    else:
        truth = reference

    def say(result: ArtefactParity) -> None:
        console.progress("parity", one_line(result))

    report = verify(
        truth,
        artefacts,
        calibration=images,
        max_images=max_images,
        progress=say,
        watch=watched(console),
    )
    against = {"reference": report.reference, "reference_kind": report.reference_kind}
    for artefact, result in zip(artefacts, report.artefacts, strict=True):
        # The record of an ONNX file that was given tells of its own network: it stays as it is.
        if artefact.path != reference:
            add_parity(artefact.path, finite_json({**against, **result.to_json()}))
    if words := as_exported_in_words(report.reference_as_exported):
        console.progress("parity", f"compared with {report.reference}{words}")
    if report.reference_kind == "onnx":
        console.progress("parity", f"compared with the ONNX file {report.reference} in float64; "
                         "with the network: `edgerep verify CHECKPOINT ARTEFACT`")  # fmt: skip
    return report


def watched(console: Console) -> Callable[[str, int, int], None]:
    """What `verify` tells on the way, as what the console is doing."""

    def watch(what: str, done: int, count: int) -> None:
        console.doing("parity", f"{Path(what).name}: {done} of {count} probes")

    return watch


def verdict(report: ParityReport | None) -> str:
    """What the last line of a command that made something says of it: "; agrees", for example."""
    if report is None:
        return "; not compared"
    waiting = [result for result in report.artefacts if not result.ran]
    said = ""
    if report.ran:
        ran = [Path(result.path).name for result in report.artefacts if result.ran]
        of = f" ({', '.join(ran)})" if waiting else ""
        said = f"; agrees{of}" if report.passed else f"; DISAGREES{of}"
    for result in waiting:
        said += f"; {Path(result.path).name} was not run here: {result.why_not}"
    return said


def parity_code(report: ParityReport | None) -> int:
    """Exit code of a command that made something: 1 if an artefact that ran disagrees, else 0."""
    return 1 if report is not None and report.ran and not report.passed else 0


def making_json(output: Path, artefact: Artefact, report: ParityReport | None) -> dict[str, Any]:
    """The JSON of a command that made one artefact."""
    return {
        "schema": SCHEMA,
        "output": str(output),
        **artefact.to_json(),
        "parity": None if report is None else report.to_json(),
    }

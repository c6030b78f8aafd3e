"""The honest files of each subject, into which faults are planted, and more that are right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from faults.subjects import Subject
from torch import nn

from edgerep.artefacts.artefact import Artefact
from edgerep.errors import EdgerepError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import open_graph
from edgerep.export.graph.opset import convert_opset
from edgerep.export.graph.writing import write_graph
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.fusion.fused import Fused, fuse

BATCH = (1, 2, 3)
OPSETS = (17, 19, 20)
_LABELS = [f"class {index}" for index in range(10)]


@dataclass(frozen=True, eq=False)
class Honest:
    """A right file.

    Attributes:
        subject: Whose network it is.
        words: What is special about it.
        precision: "fp32" or "fp16".
        artefact: The file, or the package.
    """

    subject: Subject
    words: str
    precision: str
    artefact: Artefact


def honest_graphs(subject: Subject, folder: Path, *, forms: int = 2) -> Iterator[Honest]:
    """Its ONNX files: fused for a range of batches, then unfused, each in both precisions."""
    shape = (2, subject.images.shape[1], *subject.size)
    fused = fuse(subject.network, inputs=torch.zeros(shape), certify=False)
    sources: list[tuple[str, Fused | nn.Module]] = [("fused", fused), ("unfused", subject.network)]
    for words, source in sources[:forms]:
        path = folder / f"{subject.name}-{words}.onnx"
        graph = export_onnx(
            source, path, batch=BATCH, size=subject.size, preprocessing=subject.preprocessing
        )
        yield Honest(subject, words, "fp32", graph)
        half = adapt_onnx(graph, folder / f"{subject.name}-{words}-half.onnx", precision="fp16")
        yield Honest(subject, words, "fp16", half)


def honest_packages(graph: Honest, folder: Path) -> Iterator[Honest]:
    """Core ML packages of a fused graph: an array and, where it can be, labelled images."""
    stem = f"{graph.subject.name}-{graph.precision}"
    plain = export_coreml(graph.artefact.path, folder / f"{stem}.mlpackage")
    yield Honest(graph.subject, "package", graph.precision, plain)
    if graph.subject.name in ("digits", "squeeze"):
        path = folder / f"{stem}-labelled.mlpackage"
        made = export_coreml(graph.artefact.path, path, image_input=True, labels=_LABELS)
        yield Honest(graph.subject, "labelled package", graph.precision, made)


def more_graphs(graph: Honest, folder: Path) -> Iterator[Honest]:
    """The same network in other opsets, and for one batch size."""
    found = open_graph(graph.artefact.path)
    for opset in OPSETS:
        path = folder / f"{graph.artefact.path.stem}-opset{opset}.onnx"
        try:
            model = convert_opset(onnx.load(graph.artefact.path), opset)
        except EdgerepError:  # an operator that this opset does not have
            continue
        made = write_graph(
            model, path, form=found.form, batch=found.batch, made_from=found.made_from,
            options=found.options,
        )  # fmt: skip
        yield Honest(graph.subject, f"opset {opset}", graph.precision, made)

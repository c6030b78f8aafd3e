"""What the commands that make an artefact have in common: source to graph, artefact to parity."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from torch import nn

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.records import add_parity, finite_json
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.parity.verification import ArtefactParity, ParityReport, verify
from edgerep.bench.report.text.certificate import one_line as proof_line
from edgerep.bench.report.text.parity import one_line
from edgerep.checkpoints.loading import load
from edgerep.commands.shared.console import Console
from edgerep.commands.shared.options import shapes_from
from edgerep.data.preprocessing import Preprocessing
from edgerep.data.samples import read_samples
from edgerep.errors import OnnxError, OptionError
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import Graph, open_graph
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.fusion.fused import Fused, fuse
from edgerep.networks.examples import example_inputs
from edgerep.networks.interface import InputShapes, interface_of
from edgerep.networks.network import Network, origin_of, title_of

EXAMPLES = 2  # inputs that a network is fused on: more than one, so that mixed-up ones are noticed


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options by which a source becomes a graph.

    Attributes:
        model: Place of what builds a network of the user's own; None for those edgerep knows.
        size: Of the image, where `input_shapes` is None.
        input_shapes: As for `edgerep.export_onnx`.
        bn_eps: As for `edgerep.load`.
    """

    model: str | None
    size: tuple[int, int]
    input_shapes: InputShapes | None
    batch: BatchProfile
    preprocessing: Preprocessing
    bn_eps: float | None

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the image; None where the network takes something else than one."""
        if self.input_shapes is None:
            return self.size
        given = self.input_shapes
        shapes = [*(given.values() if isinstance(given, Mapping) else given)]
        if len(shapes) != 1 or len(shapes[0]) != 3:
            return None
        _, height, width = shapes[0]
        return height, width


def wanted_from(options: dict[str, Any]) -> Wanted:
    """Take the values of `network_options` out of a command's keyword arguments."""
    shapes = shapes_from(options.pop("input_shapes"))
    context = click.get_current_context(silent=True)
    asked = context and context.get_parameter_source("size") is ParameterSource.COMMANDLINE
    if shapes is not None and asked:
        raise OptionError("--input-shape and --size say the same thing: give one of them")
    return Wanted(
        model=options.pop("model"),
        size=options.pop("size"),
        input_shapes=shapes,
        batch=options.pop("batch"),
        preprocessing=Preprocessing(
            options.pop("input_kind"), options.pop("mean"), options.pop("std")
        ),
        bn_eps=options.pop("bn_eps"),
    )


@dataclass(frozen=True, eq=False)
class Made:
    """A graph, and what it can be compared with: the network, or the ONNX file it came from."""

    graph: Graph
    reference: nn.Module | Path


def read_network(
    source: str, console: Console, *, model: str | None, bn_eps: float | None
) -> nn.Module:
    """Load a network, and say what was read and what was decided on the way."""
    network = load(source, model=model, bn_eps=bn_eps)
    if origin := origin_of(network):
        for note in origin.notes:
            console.progress("read", note)
        console.progress("read", f"{origin.source}: {title_of(network)}, {origin.format}")
    return network


def fuse_network(model: nn.Module, wanted: Wanted, console: Console) -> Fused:
    """Fuse a network; one of the user's own is run on the inputs that it will be exported for."""
    inputs = None
    if wanted.input_shapes is not None or not isinstance(model, Network):
        specs = interface_of(model, size=wanted.size, shapes=wanted.input_shapes)
        inputs = example_inputs(model, [(EXAMPLES, *spec.shape) for spec in specs])
    fused = fuse(model, inputs=inputs)
    if fused.certificate is not None:
        console.progress("fuse", proof_line(fused.certificate))
    return fused


def make_graph(
    source: str,
    path: Path,
    wanted: Wanted,
    *,
    precision: str | None,
    console: Console,
    unfused: bool = False,
) -> Made:
    """The ONNX graph of a source: fused unless asked otherwise; an ONNX file that fits, as it is.

    Args:
        source: A checkpoint, the name of an architecture, "-", or an ONNX file.
        path: Where a graph that has to be made is written.
        wanted: Whose network, shapes, batch and preprocessing.
        precision: None for float32, and for what an ONNX file has already.
        console: Told what happens.
        unfused: Export the network with its branches and BatchNorms.
    """
    if Path(source).suffix == ".onnx":
        file = Path(source)
        return Made(_graph_of_onnx(file, path, wanted, precision, console, unfused), file)
    model = read_network(source, console, model=wanted.model, bn_eps=wanted.bn_eps)
    graph = export_onnx(
        model if unfused else fuse_network(model, wanted, console),
        path,
        precision=precision or "fp32",
        batch=wanted.batch,
        size=wanted.size,
        input_shapes=wanted.input_shapes,
        preprocessing=wanted.preprocessing,
    )
    console.progress("onnx", f"{path.name}: {describe_graph(graph)}")
    return Made(graph, model)


def _graph_of_onnx(
    source: Path,
    path: Path,
    wanted: Wanted,
    precision: str | None,
    console: Console,
    unfused: bool,
) -> Graph:
    if unfused:
        raise OptionError(f"{source} is an ONNX file: it is exported already, as it stands")
    if wanted.model is not None or wanted.input_shapes is not None:
        raise OptionError(f"{source} is an ONNX file: --model and --input-shape are for networks")
    graph = open_graph(source)
    console.progress("onnx", f"{source.name}: {describe_graph(graph)}")
    if wanted.preprocessing.is_identity and precision in (None, graph.precision):
        return graph
    graph = adapt_onnx(
        graph, path, precision=precision or graph.precision, preprocessing=wanted.preprocessing
    )
    console.progress("onnx", f"{path.name}: {describe_graph(graph)}")
    return graph


def describe_graph(graph: Graph) -> str:
    operators = ", ".join(f"{count} {name}" for name, count in list(graph.operators.items())[:4])
    return f"{graph.form}, {graph.precision}, opset {graph.opset}, batch {graph.batch}: {operators}"


@contextlib.contextmanager
def graph_beside(output: Path, keep: Path | None) -> Iterator[Path]:
    """Where the ONNX file on the way to an engine or a package is written: kept, or temporary."""
    if keep is not None:
        if keep.suffix != ".onnx":
            raise OptionError(f"{keep}: an ONNX file is written as .onnx")
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="edgerep-") as folder:
        yield Path(folder) / output.with_suffix(".onnx").name


def check(
    reference: nn.Module | Path,
    artefacts: Sequence[Any],
    calibration: Path | None,
    console: Console,
) -> ParityReport | None:
    """Compare artefacts with their reference, put the result into their records, and say it.

    An ONNX file that cannot be a reference is no failure of the artefact made from it: that is
    said, and the result is None.
    """
    images = read_samples(calibration).images if calibration else None
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

    report = verify(truth, artefacts, calibration=images, progress=say)
    against = {"reference": report.reference, "reference_kind": report.reference_kind}
    for artefact, result in zip(artefacts, report.artefacts, strict=True):
        # The record of an ONNX file that was given tells of its own network: it stays as it is.
        if artefact.path != reference:
            add_parity(Path(artefact.path), finite_json({**against, **result.to_json()}))
    if report.reference_kind == "onnx":
        console.progress("parity", f"compared with the ONNX file {report.reference} in float64; "
                         "with the network: `edgerep verify CHECKPOINT ARTEFACT`")  # fmt: skip
    return report


def parity_code(report: ParityReport | None) -> int:
    """Exit code of a command that made something: 1 if anything that ran disagrees."""
    return 1 if report is not None and report.ran and not report.passed else 0


def parity_json(report: ParityReport | None) -> dict[str, Any] | None:
    return None if report is None else report.to_json()

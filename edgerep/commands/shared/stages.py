"""The steps that commands share, each said aloud: source to network, to fused network, to graph."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from edgerep.artefacts.kinds import ONNX_SUFFIX
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.report.text.certificate import one_line as proof_line
from edgerep.bench.report.text.quantisation import quantisation_lines
from edgerep.bench.report.text.ranges import range_lines
from edgerep.checkpoints.loading import load
from edgerep.commands.shared.console import Console
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.commands.shared.unfused import unfused_lines
from edgerep.data.samples import ImageSource, few_images
from edgerep.export.engine.engine_file import Engine
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import Graph
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.fusion.fused import Fused, fuse
from edgerep.networks.examples import example_inputs
from edgerep.networks.interface import interface_of
from edgerep.networks.network import Network, origin_of, title_of

MIB = 1 << 20
EXAMPLES = 2  # inputs that a network is fused on: more than one, so that mixed-up ones are noticed


@dataclass(frozen=True, eq=False)
class MadeGraph:
    """A graph, and what it can be compared with: the network, or the ONNX file it came from."""

    graph: Graph
    reference: nn.Module | Path


def read_network(
    source: str, console: Console, *, model: str | None, bn_eps: float | None
) -> nn.Module:
    """Load a network, and say what was read and what was decided on the way.

    Args:
        source: A checkpoint or the name of an architecture; with `model`, "-" for its own weights.
        console: Told what happens.
        model: "package.module:callable" that builds a network of the user's own.
        bn_eps: eps of every BatchNorm; None is 1e-5, with `model` the network's own.

    Raises:
        CheckpointError, NetworkError, OptionError: The network cannot be loaded.
    """
    console.doing("read", f"reading {source}")
    network = load(source, model=model, bn_eps=bn_eps)
    if origin := origin_of(network):
        for note in origin.notes:
            console.progress("read", note)
        console.progress("read", f"{origin.source}: {title_of(network)}, {origin.format}")
    return network


def fuse_network(model: nn.Module, wanted: GraphOptions, console: Console) -> Fused:
    """Fuse a network; one of the user's own is run on the inputs that it will be exported for.

    Raises:
        FusionError: What was fused differs from the network.
        OptionError: The shapes do not fit `forward`.
    """
    inputs = None
    if wanted.input_shapes is not None or not isinstance(model, Network):
        specs = interface_of(model, size=wanted.size, shapes=wanted.input_shapes)
        inputs = example_inputs(model, [(EXAMPLES, *spec.shape) for spec in specs])
    console.doing("fuse", "fusing, and checking it in float64")
    fused = fuse(model, inputs=inputs)
    if fused.certificate is not None:
        console.progress("fuse", proof_line(fused.certificate))
    return fused


def say_preprocessing(wanted: GraphOptions, console: Console) -> None:
    """Say what the network will see of what the model is given, where that is not the same."""
    if not wanted.preprocessing.is_identity:
        console.progress("input", wanted.preprocessing.describe())


def require_images(images: ImageSource | None, model: nn.Module, wanted: GraphOptions) -> None:
    """Hold the images against a network that was read, before it is fused and exported.

    Raises:
        DataError: They do not fit its input.
    """
    if images is None:
        return
    taken = interface_of(model, size=wanted.size, shapes=wanted.input_shapes)
    if len(taken) == 1:
        spec = TensorSpec(taken[0].name, wanted.preprocessing.dtype, (None, *taken[0].shape))
        images.pixels_for(spec, wanted.preprocessing)


def make_graph(
    source: str,
    opened: Graph | None,
    path: Path,
    wanted: GraphOptions,
    *,
    precision: str | None,
    console: Console,
    images: ImageSource | None = None,
    unfused: bool = False,
    rewrite: bool = False,
) -> MadeGraph:
    """The ONNX graph of a source, fused unless `unfused`; an ONNX file that fits is taken as it is.

    Args:
        source: A checkpoint, the name of an architecture, "-", or an ONNX file.
        opened: That ONNX file, for the batch that is wanted.
        path: Where a graph that has to be made is written.
        wanted: Whose network, shapes, batch and preprocessing.
        precision: One of `PRECISIONS`; None for float32, or for what an ONNX file has already.
        console: Told what happens.
        images: From which a precision is made that needs some.
        unfused: Export the network with its branches and BatchNorms.
        rewrite: Write an ONNX file to `path` also where it is what was asked for already.

    Raises:
        EdgerepError: The source cannot be read, fused or exported.
    """
    say_preprocessing(wanted, console)
    if opened is not None:
        graph = _graph_of_onnx(opened, path, wanted, precision, console, images, rewrite)
        return MadeGraph(graph, opened.path)
    model = read_network(source, console, model=wanted.model, bn_eps=wanted.bn_eps)
    require_images(images, model, wanted)
    network = model if unfused else fuse_network(model, wanted, console)
    console.doing("onnx", f"exporting {path.name}")
    graph = export_onnx(
        network,
        path,
        precision=precision or "fp32",
        batch=wanted.batch,
        size=wanted.size,
        input_shapes=wanted.input_shapes,
        preprocessing=wanted.preprocessing,
        **precision_keywords(wanted, precision, images, console),
    )
    say_graph(graph, console)
    return MadeGraph(graph, model)


def precision_keywords(
    wanted: GraphOptions, precision: str | None, images: ImageSource | None, console: Console
) -> dict[str, Any]:
    """The keywords of `export_onnx` and `adapt_onnx` by which a precision is made."""
    if precision in (None, "fp32") or images is None:
        return wanted.settings_of(precision)

    if warning := few_images(len(images)):
        console.progress(precision, warning)

    def watch(what: str, done: int, count: int) -> None:
        console.doing(precision, f"{what}, {done} of {count}")

    return {**wanted.settings_of(precision), "calibration": images, "watch": watch}


def say_graph(graph: Graph, console: Console) -> None:
    """Say what was written, and what was done to make it as narrow as it is."""
    console.progress("onnx", f"{graph.path.name}: {describe_graph(graph)}")
    lines = (
        *quantisation_lines(graph.options),
        *unfused_lines(graph),
        *range_lines(graph.options),
    )
    for line in lines:
        console.progress(graph.precision, line)


def _graph_of_onnx(
    graph: Graph,
    path: Path,
    wanted: GraphOptions,
    precision: str | None,
    console: Console,
    images: ImageSource | None,
    rewrite: bool,
) -> Graph:
    batch = wanted.batch if "--batch" in wanted.given else None
    if (
        batch is None
        and graph.batch.is_static
        and any(s.shape[:1] == (None,) for s in graph.inputs)
    ):
        console.progress("onnx", f"{graph.path.name} leaves its batch open; it is taken for "
                         f"{graph.batch} until --batch says more, such as 1:8:32")  # fmt: skip
    console.progress("onnx", f"{graph.path.name}: {describe_graph(graph)}")
    as_it_is = wanted.preprocessing.is_identity and not wanted.repair
    same = as_it_is and precision in (None, graph.precision)
    if same and not rewrite:
        return graph
    graph = adapt_onnx(
        graph,
        path,
        precision=precision or graph.precision,
        preprocessing=wanted.preprocessing,
        batch=batch,
        repair=wanted.repair,
        **precision_keywords(wanted, precision, images, console),
    )
    if wanted.repair:
        done = ", ".join(graph.options["repaired"]) or "nothing had to be rewritten"
        console.progress("repair", done)
    say_graph(graph, console)
    return graph


def describe_graph(graph: Graph) -> str:
    operators = ", ".join(f"{count} {name}" for name, count in list(graph.operators.items())[:4])
    return f"{graph.form}, {graph.precision}, opset {graph.opset}, batch {graph.batch}: {operators}"


@contextlib.contextmanager
def graph_beside(output: Path, keep: Path | None) -> Iterator[Path]:
    """The path for the ONNX file from which `output` is made: `keep`, or a temporary one."""
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="edgerep-") as folder:
        yield Path(folder) / output.with_suffix(ONNX_SUFFIX).name


def forms_of(model: nn.Module, fused: Fused, folder: Path, wanted: GraphOptions) -> list[Any]:
    """What is worth timing: a network, what it was fused to, and a graph of each form.

    Args:
        model: The unfused network.
        fused: What it was fused to.
        folder: Where the ONNX files are written; it must outlive their use.
        wanted: Shapes and batch of the graphs, which are float32 and without preprocessing.
    """
    origin = origin_of(model)
    # The name by which the user knows the network: that of its file, where there is one.
    name = Path(origin.source).stem if origin and origin.sha256 else title_of(model)
    stem = re.sub(r"[^\w.-]", "_", name)
    graphs = [
        export_onnx(
            network,
            folder / f"{stem}.{form}.onnx",
            batch=wanted.batch,
            size=wanted.size,
            input_shapes=wanted.input_shapes,
            fold_batchnorm=form == "unfused-folded",
        )
        for form, network in (("unfused", model), ("unfused-folded", model), ("fused", fused))
    ]
    return [model, fused, *graphs]


def describe_engine(engine: Engine) -> str:
    return (
        f"{engine.runtime} {engine.runtime_version} engine, {engine.precision}, "
        f"batch {engine.batch}, {engine.size_bytes / MIB:.1f} MiB, "
        f"built in {engine.build_seconds:.1f} s"
    )

"""`edgerep deploy`: the whole path into one folder."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import click
from torch import nn

from edgerep.artefacts.files import write_text
from edgerep.artefacts.kinds import PRECISIONS
from edgerep.bench.accuracy import Accuracy, artefact_accuracy, module_accuracy, require_classifier
from edgerep.bench.report.html.page import render_html
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.bench.timing.cases import BenchResult
from edgerep.bench.timing.harness import run_bench
from edgerep.bench.timing.intervals import MIN_ROUNDS
from edgerep.commands.shared.checking import check, parity_code
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.deployment import Deployment, deployment_json, deployment_text
from edgerep.commands.shared.graph_options import GraphOptions, graph_options
from edgerep.commands.shared.options import calibration_option, network_options, runtime_option
from edgerep.commands.shared.stages import (
    describe_engine,
    describe_graph,
    forms_of,
    fuse_network,
    read_network,
)
from edgerep.data.samples import Images, read_images, require_fitting
from edgerep.errors import MissingRuntimeError, OptionError
from edgerep.export.engine.building import build_engine
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.fused_weights import save_weights
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused
from edgerep.networks.network import origin_of, title_of


@click.command("deploy")
@click.argument("source")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write into.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(PRECISIONS),
    multiple=True,
    default=("fp32",),
    show_default=True,
    help="May be repeated.",
)
@runtime_option("For the engine.")
@click.option("--target", default="iOS16", show_default=True, help="For the Core ML package.")
@click.option(
    "--evaluate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Labelled images, .npz with `images` and `labels`: report accuracy.",
)
@click.option(
    "--bench/--no-bench", default=True, show_default=True, help="Measure latency and memory."
)
@click.option(
    "--rounds",
    type=click.IntRange(min=MIN_ROUNDS),
    default=30,
    show_default=True,
    help="Of the bench.",
)
@network_options
@calibration_option
@console_options  # fmt: skip
def command(
    source: str,
    output: Path,
    precisions: tuple[str, ...],
    runtime: str,
    target: str,
    evaluate: Path | None,
    bench: bool,
    rounds: int,
    calibration: Path | None,
    console: Console,
    **options: Any,
) -> int:
    """Fuse SOURCE, export it, build an engine and a Core ML package, compare and time them all.

    SOURCE is a checkpoint, or the name of a published RepVGG; with --model a checkpoint of that
    network, or - for its weights as built. A target whose tools are not
    installed is left out, and the report says so. Exit code 1 when an artefact disagrees.
    """
    if output.exists() and not output.is_dir():
        raise OptionError(f"{output} is a file: give a folder to write into")
    wanted = graph_options(options)
    images = _labelled(evaluate, wanted)
    deployment = Deployment(output)
    with deployment.stage("read"):
        model = read_network(source, console, model=wanted.model, bn_eps=wanted.bn_eps)
    if images is not None:
        require_classifier(model, images, wanted.preprocessing)
    with deployment.stage("fuse"):
        fused = fuse_network(model, wanted, console)
        save_weights(fused, output / "fused.safetensors")
    for precision in dict.fromkeys(precisions):
        _make(deployment, fused, wanted, precision, runtime, target, console)
    with deployment.stage("parity"):
        report = check(model, deployment.artefacts, calibration, console)
    accuracies: list[Accuracy] = []
    if images is not None:
        with deployment.stage("accuracy"):
            accuracies = _accuracies(model, fused, deployment, images, wanted)
        console.progress("accuracy", f"{len(accuracies)} forms on {len(images.pixels)} images")
    timed = None
    if bench:
        with deployment.stage("bench"):
            timed = _timed(model, fused, deployment, wanted, rounds, console)
    result = deployment_json(
        source, fused, deployment, report, accuracies, timed, precisions, wanted
    )
    write_text(output / "deploy.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    origin = origin_of(model)
    title = origin.source if origin else title_of(model)
    write_text(output / "report.html", render_html({"title": title, **result}))
    console.progress("report", f"{output / 'report.html'}")
    console.finish(result, deployment_text(report, accuracies, timed, deployment))
    return parity_code(report)


def _make(
    deployment: Deployment,
    fused: Fused,
    wanted: GraphOptions,
    precision: str,
    runtime: str,
    target: str,
    console: Console,
) -> None:
    """Make one graph, and one engine and one package from it, where their tools are installed."""
    folder = deployment.folder
    with deployment.stage(f"onnx {precision}"):
        graph = export_onnx(
            fused,
            folder / f"model.{precision}.onnx",
            precision=precision,
            batch=wanted.batch,
            size=wanted.size,
            input_shapes=wanted.input_shapes,
            preprocessing=wanted.preprocessing,
        )
    console.progress("onnx", f"{graph.path.name}: {describe_graph(graph)}")
    deployment.artefacts.append(graph)
    with deployment.stage(f"engine {precision}"):
        try:
            engine = build_engine(graph, folder / f"model.{precision}.engine", runtime=runtime)
        except MissingRuntimeError as error:
            deployment.skip(console, "engine", f"model.{precision}.engine", str(error))
        else:
            deployment.artefacts.append(engine)
            console.progress("engine", f"{engine.path.name}: {describe_engine(engine)}")
    with deployment.stage(f"coreml {precision}"):
        _make_package(deployment, graph, precision, target, console)


def _make_package(
    deployment: Deployment, graph: Graph, precision: str, target: str, console: Console
) -> None:
    path = deployment.folder / f"model.{precision}.mlpackage"
    if importlib.util.find_spec("coremltools") is None:
        why = "coremltools is not installed: pip install 'edgerep[coreml]'"
        deployment.skip(console, "coreml", path.name, why)
        return
    from edgerep.export.coreml.conversion import export_coreml

    package = export_coreml(graph, path, target=target)
    deployment.artefacts.append(package)
    console.progress("coreml", f"{path.name}: {package.precision}, {package.target}, "
                     f"{sum(package.operators.values())} operations")  # fmt: skip


def _labelled(evaluate: Path | None, wanted: GraphOptions) -> Images | None:
    """Read the labelled images at once: a mistake in them should not surface at the end."""
    if evaluate is None:
        return None
    images = read_images(evaluate)
    if images.labels is None:
        raise OptionError(f"{evaluate} has no array `labels`: accuracy needs one label an image")
    if wanted.image_size is None:
        raise OptionError("accuracy needs a network that takes one image [C, H, W]: set no "
                          "--evaluate, or one --input-shape")  # fmt: skip
    if images.pixels.shape[2:] != wanted.image_size:
        raise OptionError(
            f"{evaluate} has images of {'x'.join(map(str, images.pixels.shape[2:]))} and the "
            f"network is exported for {'x'.join(map(str, wanted.image_size))}: set --size"
        )
    if str(images.pixels.dtype) != wanted.preprocessing.dtype:
        raise OptionError(
            f"{evaluate} has {images.pixels.dtype} images and the network is exported for "
            f"{wanted.preprocessing.dtype}: set --input"
        )
    return images


def _accuracies(
    model: nn.Module, fused: Fused, deployment: Deployment, images: Images, wanted: GraphOptions
) -> list[Accuracy]:
    found = [
        module_accuracy(model, images, wanted.preprocessing, form="unfused"),
        module_accuracy(fused.module, images, wanted.preprocessing, form="fused"),
    ]
    for artefact in map(open_runnable, deployment.artefacts):
        require_fitting(images.pixels, artefact.inputs[0])
        if artefact.why_not is None:
            found.append(artefact_accuracy(artefact, images))
    return found


def _timed(
    model: nn.Module,
    fused: Fused,
    deployment: Deployment,
    wanted: GraphOptions,
    rounds: int,
    console: Console,
) -> BenchResult:
    with tempfile.TemporaryDirectory(prefix="edgerep-") as folder:
        devices = [made for made in deployment.artefacts if not isinstance(made, Graph)]
        return run_bench(
            [*forms_of(model, fused, Path(folder), wanted), *(made.path for made in devices)],
            batch=sorted({wanted.batch.smallest, wanted.batch.optimum}),
            rounds=rounds,
            size=wanted.size,
            input_shapes=wanted.input_shapes,
            progress=lambda text: console.progress("bench", text),
        )

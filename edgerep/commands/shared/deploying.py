"""The steps of `deploy` that no other command has: make all targets, count, and time them."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from torch import nn

from edgerep.bench.accuracy import Accuracy, artefact_accuracy, module_accuracy
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.bench.timing.cases import BenchResult
from edgerep.bench.timing.harness import run_bench
from edgerep.commands.shared.console import Console
from edgerep.commands.shared.deployment import Deployment
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.commands.shared.stages import describe_engine, describe_graph, forms_of
from edgerep.data.samples import Images, require_fitting
from edgerep.errors import MissingRuntimeError
from edgerep.export.engine.building import build_engine
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused


def make_artefacts(
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


def accuracies_of(
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


def time_all(
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

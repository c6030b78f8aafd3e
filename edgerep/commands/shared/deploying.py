"""The steps of `deploy` that no other command has: make all targets, count, and time them."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from torch import nn

from edgerep.artefacts.artefact import Artefact
from edgerep.artefacts.kinds import PACKAGE_SUFFIX
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.accuracy import Accuracy, artefact_accuracy, module_accuracy
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.bench.timing.cases import BenchResult
from edgerep.bench.timing.harness import run_bench
from edgerep.commands.shared.console import Console
from edgerep.commands.shared.deployment import Deployment
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.commands.shared.readiness import require_coremltools
from edgerep.commands.shared.stages import (
    describe_engine,
    forms_of,
    precision_keywords,
    say_graph,
)
from edgerep.data.samples import Images, ImageSource, require_fitting
from edgerep.errors import EdgerepError, OptionError, OutputError
from edgerep.export.engine.building import build_engine
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused
from edgerep.networks.interface import interface_of

_SUFFIXES = {"onnx": ".onnx", "engine": ".engine", "coreml": PACKAGE_SUFFIX}
# What is wrong with the call or the disk, not with a target.
_NO_REFUSAL = (OptionError, OutputError)


def make_targets(
    deployment: Deployment,
    fused: Fused,
    wanted: GraphOptions,
    precision: str,
    targets: Collection[str],
    *,
    images: ImageSource | None,
    runtime: str,
    coreml_target: str | None,
    console: Console,
) -> None:
    """Make one graph, and one engine and one package from it; what is refused becomes a row.

    Args:
        deployment: Told what was made and what was not.
        fused: The network.
        wanted: Shapes, batch and preprocessing of the graph.
        precision: Of the graph.
        targets: Some of "onnx", "engine" and "coreml"; without "onnx" the graph is not kept.
        images: From which a precision is made that needs some.
        runtime: For the engine.
        coreml_target: For the package: the oldest system it has to run on; None for the default.
        console: Told what happens.

    Raises:
        OptionError, OutputError: An option is wrong in itself, or a file cannot be written.
    """
    paths = {
        target: deployment.folder / f"model.{precision}{suffix}"
        for target, suffix in _SUFFIXES.items()
    }
    with tempfile.TemporaryDirectory(prefix="edgerep-") as scratch:
        place = paths["onnx"] if "onnx" in targets else Path(scratch) / paths["onnx"].name
        try:
            with deployment.stage(f"onnx {precision}"):
                graph = _graph(fused, place, precision, wanted, images, console)
        except _NO_REFUSAL:
            raise
        except EdgerepError as error:
            for target in targets:
                deployment.not_made(console, target, precision, paths[target], error)
            return
        if "onnx" in targets:
            deployment.made(graph, "onnx", precision)
        for target in ("engine", "coreml"):
            if target not in targets:
                continue
            try:
                with deployment.stage(f"{target} {precision}"):
                    if target == "engine":
                        artefact: Artefact = _engine(graph, paths[target], runtime, console)
                    else:
                        artefact = _package(graph, paths[target], coreml_target, console)
            except _NO_REFUSAL:
                raise
            except EdgerepError as error:
                deployment.not_made(console, target, precision, paths[target], error)
            else:
                deployment.made(artefact, target, precision)


def _graph(
    fused: Fused,
    path: Path,
    precision: str,
    wanted: GraphOptions,
    images: ImageSource | None,
    console: Console,
) -> Graph:
    console.doing("onnx", f"exporting {path.name}")
    graph = export_onnx(
        fused,
        path,
        precision=precision,
        batch=wanted.batch,
        size=wanted.size,
        input_shapes=wanted.input_shapes,
        preprocessing=wanted.preprocessing,
        **precision_keywords(wanted, precision, images, console),
    )
    say_graph(graph, console)
    return graph


def _engine(graph: Graph, path: Path, runtime: str, console: Console) -> Artefact:
    console.doing("engine", f"building {path.name}")
    engine = build_engine(graph, path, runtime=runtime)
    console.progress("engine", f"{path.name}: {describe_engine(engine)}")
    return engine


def _package(graph: Graph, path: Path, target: str | None, console: Console) -> Artefact:
    require_coremltools()
    console.doing("coreml", f"converting {path.name}")
    from edgerep.export.coreml.conversion import export_coreml

    package = export_coreml(graph, path, target=target)
    console.progress("coreml", f"{path.name}: {package.precision}, {package.target}, "
                     f"{sum(package.operators.values())} operations")  # fmt: skip
    return package


def labelled_images(images: ImageSource, model: nn.Module, wanted: GraphOptions) -> Images:
    """Labelled images as the model and all its artefacts take them.

    Raises:
        DataError: They are pictures, and it takes none.
    """
    if isinstance(images, Images):
        return images
    shape = interface_of(model, size=wanted.size, shapes=wanted.input_shapes)[0].shape
    spec = TensorSpec("image", wanted.preprocessing.dtype, (None, *shape))
    return Images(images.pixels_for(spec, wanted.preprocessing), images.labels)


def accuracies_of(
    model: nn.Module, fused: Fused, deployment: Deployment, images: Images, wanted: GraphOptions
) -> list[Accuracy]:
    """Accuracy of the network, of what it was fused to, and of each artefact that runs here."""
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
    """Time the network, its float32 graphs of every form, and what was made of them."""
    with tempfile.TemporaryDirectory(prefix="edgerep-") as folder:
        console.doing("bench", "exporting the forms that are timed")
        forms = forms_of(model, fused, Path(folder), wanted)
        return run_bench(
            [*forms, *beside_the_forms(deployment.artefacts)],
            batch=sorted({wanted.batch.smallest, wanted.batch.optimum}),
            rounds=rounds,
            size=wanted.size,
            input_shapes=wanted.input_shapes,
            progress=lambda text: console.step("bench", text),
        )


def beside_the_forms(artefacts: Sequence[Artefact]) -> list[Path]:
    """The files to time: all but float32 graphs, which are the fused form once more."""
    return [
        made.path for made in artefacts if not isinstance(made, Graph) or made.precision != "fp32"
    ]

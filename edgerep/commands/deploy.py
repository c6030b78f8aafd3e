"""`edgerep deploy`: the whole path into one folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from edgerep.artefacts.files import write_text
from edgerep.artefacts.kinds import PRECISIONS
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.graph_options import graph_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.images import read_given, read_labelled
from edgerep.commands.shared.option_values import TARGETS, Choice, TargetsType
from edgerep.commands.shared.options import (
    coreml_target_option,
    existing_images,
    image_options,
    network_options,
    rounds_option,
    runtime_option,
    source_argument,
)
from edgerep.commands.shared.outputs import require_folder, require_no_input
from edgerep.commands.shared.readiness import require_coremltools
from edgerep.commands.shared.sources import require_source
from edgerep.errors import OptionError


@click.command(
    "deploy",
    cls=Command,
    examples=(
        "edgerep deploy RepVGG-A0-train.pth -o deployed --batch 1:8:32",
        "edgerep deploy - --model mynets.net:build -o out --size 64 --targets onnx,coreml",
    ),
)
@source_argument
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
    type=Choice(PRECISIONS),
    multiple=True,
    default=("fp32",),
    show_default=True,
    help="May be repeated.",
)
@runtime_option("For the engine.")
@coreml_target_option("For the Core ML package")
@click.option(
    "--targets",
    type=TargetsType(),
    default=",".join(TARGETS),
    show_default=True,
    metavar="TARGET[,TARGET...]",
    help="What to make. One that is refused is a row of the report.",
)
@click.option(
    "--require",
    "required",
    type=Choice(TARGETS),
    multiple=True,
    help="Exit with 3 when this target is refused; may be repeated.",
)
@click.option(
    "--evaluate",
    type=existing_images,
    help="Labelled images: a folder for each class, or .npz with `images` and `labels`: report "
    "accuracy.",
)
@click.option(
    "--bench/--no-bench", default=True, show_default=True, help="Measure latency and memory."
)
@rounds_option("Of the bench.")
@network_options
@image_options
@console_options  # fmt: skip
def command(
    source: str,
    output: Path,
    precisions: tuple[str, ...],
    runtime: str,
    target: str | None,
    targets: tuple[str, ...],
    required: tuple[str, ...],
    evaluate: Path | None,
    bench: bool,
    rounds: int,
    calibration: Path | None,
    max_images: int | None,
    console: Console,
    **options: Any,
) -> int:
    """Fuse SOURCE, export it, build an engine and a Core ML package, compare and time them all.

    SOURCE is a checkpoint, or the name of a published RepVGG or MobileOne; with --model a
    checkpoint of that network, or - for its weights as built. A target that is refused, or whose
    tools are not installed, is a row of the report with its reason. Exit code 1 when an artefact
    disagrees, 3 when a target that --require names is refused, or nothing could be made.
    """
    wanted = graph_options(options)
    wanted.require_precisions(precisions, images=calibration is not None)
    require_source(
        source, wanted.given, model=wanted.model,
        onnx="`edgerep build-engine`, `export-coreml` and `verify` take it as it is",
    )  # fmt: skip
    targets = _chosen(targets, required, wanted.given)
    if not bench and "--rounds" in wanted.given:
        raise OptionError("--rounds is of the bench, and --no-bench leaves it out")
    require_folder(output)
    if "coreml" in required:
        require_coremltools()
    if "engine" in required or (runtime != "auto" and "engine" in targets):
        from edgerep.export.engine.readiness import ready_runtime
        from edgerep.export.engine.settings import EngineOptions

        half = "fp16" in precisions
        ready_runtime(runtime, EngineOptions(), half=half, quantized=False)
    images = read_labelled(evaluate, wanted, console)
    given = read_given(calibration, wanted, console, onnx=False, precisions=precisions)
    console.doing("start", "loading PyTorch and ONNX")
    from edgerep.bench.accuracy import Accuracy, require_classifier
    from edgerep.bench.report.html.page import render_html
    from edgerep.commands.shared.checking import check
    from edgerep.commands.shared.deploying import (
        accuracies_of,
        labelled_images,
        make_targets,
        time_all,
    )
    from edgerep.commands.shared.deployment import (
        REPORT_NAME,
        RESULT_NAME,
        WEIGHTS_NAME,
        Deployment,
        deployment_code,
        deployment_json,
        deployment_text,
    )
    from edgerep.commands.shared.stages import (
        fuse_network,
        read_network,
        require_images,
        say_preprocessing,
    )
    from edgerep.export.fused_weights import save_weights
    from edgerep.networks.network import origin_of, title_of
    from edgerep.outside.json_text import finite_json

    require_no_input(output / WEIGHTS_NAME, (source, calibration, evaluate))
    say_preprocessing(wanted, console)
    deployment = Deployment(output)
    with deployment.stage("read"):
        model = read_network(source, console, model=wanted.model, bn_eps=wanted.bn_eps)
    require_images(given, model, wanted)
    labelled = None
    if images is not None:
        labelled = labelled_images(images, model, wanted)
        require_classifier(model, labelled, wanted.preprocessing)
    with deployment.stage("fuse"):
        fused = fuse_network(model, wanted, console)
        deployment.withdraw_report()
        save_weights(fused, output / WEIGHTS_NAME)
    for precision in dict.fromkeys(precisions):
        make_targets(
            deployment, fused, wanted, precision, targets, images=given,
            runtime=runtime, coreml_target=target, console=console,
        )  # fmt: skip
    report = None
    if deployment.artefacts:
        with deployment.tolerated("parity", console):
            report = check(model, deployment.artefacts, given, console, max_images=max_images)
    accuracies: list[Accuracy] = []
    if labelled is not None:
        console.doing("accuracy", "counting")
        with deployment.tolerated("accuracy", console):
            accuracies = accuracies_of(model, fused, deployment, labelled, wanted)
            console.progress("accuracy", f"{len(accuracies)} forms on {len(labelled)} images")
    timed = None
    if bench:
        with deployment.tolerated("bench", console):
            timed = time_all(model, fused, deployment, wanted, rounds, console)
    result = finite_json(
        deployment_json(source, fused, deployment, report, accuracies, timed, precisions, wanted)
    )
    write_text(output / RESULT_NAME, json.dumps(result, indent=2, allow_nan=False) + "\n")
    origin = origin_of(model)
    title = origin.source if origin else title_of(model)
    write_text(output / REPORT_NAME, render_html({"title": title, **result}))
    console.progress("report", f"{output / REPORT_NAME}")
    console.finish(result, deployment_text(report, accuracies, timed, deployment))
    return deployment_code(deployment, report, required)


def _chosen(
    targets: tuple[str, ...], required: tuple[str, ...], given: Collection[str]
) -> tuple[str, ...]:
    """The targets to make, in the order of making.

    Raises:
        OptionError: A required target, or one that an option is for, is not among them.
    """
    chosen = tuple(target for target in TARGETS if target in targets)
    if left_out := [target for target in required if target not in chosen]:
        raise OptionError(f"--require {left_out[0]}: --targets leaves it out")
    for option, target in (("--runtime", "engine"), ("--target", "coreml")):
        if option in given and target not in chosen:
            raise OptionError(f"{option} is for the target {target}, and --targets leaves it out")
    return chosen

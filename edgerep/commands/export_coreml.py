"""`edgerep export-coreml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgerep.artefacts.kinds import DEFAULT_TARGET, NOT_IN_COREML, PACKAGE_SUFFIX, kind_of
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.graph_options import graph_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.images import read_given
from edgerep.commands.shared.options import (
    coreml_target_option,
    image_options,
    keep_onnx_option,
    labels_option,
    network_options,
    output_option,
    precision_option,
    repair_option,
    source_argument,
)
from edgerep.commands.shared.outputs import require_kept, require_output
from edgerep.commands.shared.readiness import (
    require_coremltools,
    require_single_image,
    require_target,
)
from edgerep.commands.shared.sources import require_source
from edgerep.data.labels import read_labels
from edgerep.errors import OptionError


@click.command(
    "export-coreml",
    cls=Command,
    examples=(
        "edgerep export-coreml RepVGG-A0-train.pth -o a0.mlpackage --labels imagenet.txt",
        "edgerep export-coreml a0.onnx -o a0.mlpackage --target iOS18",
    ),
)
@source_argument
@output_option("The .mlpackage folder")
@precision_option
@repair_option
@coreml_target_option("The oldest system it has to run on")
@click.option(
    "--image-input", is_flag=True, help="Take an image instead of an array; needs --input uint8."
)
@labels_option
@click.option("--author", default="", help="Metadata that Xcode shows.")
@click.option("--description", default="", help="Metadata that Xcode shows.")
@click.option("--license", "licence", default="", help="Metadata that Xcode shows.")
@keep_onnx_option
@network_options
@image_options
@console_options  # fmt: skip
def command(
    source: str,
    output: Path,
    precision: str | None,
    target: str | None,
    image_input: bool,
    labels: Path | None,
    author: str,
    description: str,
    licence: str,
    keep_onnx: Path | None,
    calibration: Path | None,
    max_images: int | None,
    console: Console,
    **options: Any,
) -> int:
    """Convert SOURCE to a Core ML package, on any system, and compare it.

    SOURCE is a checkpoint (of the network that --model names, or - for its weights as built), the
    name of a published RepVGG or MobileOne, or an ONNX file. On macOS the package is run by Core
    ML; elsewhere the saved program is evaluated by a reference interpreter.
    """
    wanted = graph_options(options)
    wanted.require_precisions([precision], images=calibration is not None)
    require_source(source, wanted.given, model=wanted.model)
    require_output(output, PACKAGE_SUFFIX, "a Core ML package", folder=True,
                   inputs=(source, calibration, labels))  # fmt: skip
    require_kept(keep_onnx, inputs=(source, output, calibration))
    if precision in NOT_IN_COREML:
        raise OptionError(f"Core ML has no {precision}: give --precision fp16, int8 or fp32")
    require_target(precision, target)
    require_coremltools()
    onnx = kind_of(source) == "onnx"
    require_single_image(wanted, image_input=image_input, labels=labels is not None, onnx=onnx)
    names = read_labels(labels) if labels else None
    images = read_given(calibration, wanted, console, onnx=onnx, precisions=[precision])
    from edgerep.commands.shared.onnx_source import open_source  # loads onnx alone

    opened = open_source(
        source, wanted, images, precision=precision, labels=names, image_input=image_input
    )
    console.doing("start", "loading PyTorch, ONNX and coremltools")
    from edgerep.commands.shared.checking import check, making_json, parity_code, verdict
    from edgerep.commands.shared.stages import graph_beside, make_graph
    from edgerep.export.coreml.conversion import export_coreml

    with graph_beside(output, keep_onnx) as onnx_path:
        made = make_graph(source, opened, onnx_path, wanted, precision=precision, console=console,
                          images=images, rewrite=keep_onnx is not None)  # fmt: skip
        console.doing("coreml", f"converting to {output.name}")
        package = export_coreml(
            made.graph, output, target=target, image_input=image_input, labels=names,
            author=author, description=description, license=licence,
        )  # fmt: skip
    later = target is None and package.target != DEFAULT_TARGET
    chosen = ", which int8 activations need" if later else ""
    console.progress("coreml", f"{output.name}: {package.precision}, {package.target}{chosen}, "
                     f"{sum(package.operators.values())} operations")  # fmt: skip
    report = check(made.reference, [package], images, console, max_images=max_images)
    result = making_json(output, package, report)
    said = f"{output}: Core ML package, {package.precision}, {package.target}{verdict(report)}"
    console.finish(result, said)
    return parity_code(report)

"""`edgerep export-onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgerep.artefacts.kinds import ONNX_SUFFIX, kind_of
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.graph_options import graph_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.images import read_given
from edgerep.commands.shared.options import (
    image_options,
    network_options,
    output_option,
    precision_option,
    repair_option,
    source_argument,
)
from edgerep.commands.shared.outputs import require_output
from edgerep.commands.shared.sources import require_source
from edgerep.errors import OptionError

# What another ONNX file can be made for.
_CHANGES = ("--precision", "--batch", "--input", "--preset", "--mean", "--std", "--repair")


@click.command(
    "export-onnx",
    cls=Command,
    examples=(
        "edgerep export-onnx RepVGG-A0-train.pth -o a0.onnx --batch 1:8:32",
        "edgerep export-onnx - --model mynets.net:build -o net.onnx --size 64 --precision fp16",
    ),
)
@source_argument
@output_option("The .onnx file")
@precision_option
@repair_option
@click.option("--unfused", is_flag=True,
              help="Export the network as trained: branches and BatchNorms.")  # fmt: skip
@network_options
@image_options
@console_options
def command(
    source: str,
    output: Path,
    precision: str | None,
    unfused: bool,
    calibration: Path | None,
    max_images: int | None,
    console: Console,
    **options: Any,
) -> int:
    """Write SOURCE as one ONNX file, fused, and compare it with the unfused network.

    SOURCE is a checkpoint (of the network that --model names, or - for its weights as built), the
    name of a published RepVGG or MobileOne, or an ONNX file (to make a float16 one of it, or to put
    preprocessing into it).
    """
    wanted = graph_options(options)
    wanted.require_precisions([precision], images=calibration is not None)
    require_source(source, wanted.given, model=wanted.model)
    if kind_of(source) == "onnx" and not wanted.given.intersection(_CHANGES):
        raise OptionError(f"{source} is an ONNX file already: give one of {', '.join(_CHANGES)}")
    require_output(output, ONNX_SUFFIX, "an ONNX file", inputs=(source, calibration))
    images = read_given(
        calibration, wanted, console, onnx=kind_of(source) == "onnx", precisions=[precision]
    )
    from edgerep.commands.shared.onnx_source import open_source  # loads onnx alone

    opened = open_source(source, wanted, images, precision=precision)
    rewrite = "--batch" in wanted.given or wanted.repair
    if (
        opened is not None
        and opened.precision == precision
        and wanted.preprocessing.is_identity
        and not rewrite
    ):
        raise OptionError(
            f"{source} is {precision} already: give another --precision, or preprocessing"
        )
    console.doing("start", "loading PyTorch and ONNX")
    from edgerep.commands.shared.checking import check, making_json, parity_code, verdict
    from edgerep.commands.shared.stages import describe_graph, make_graph

    made = make_graph(source, opened, output, wanted, precision=precision, console=console,
                      images=images, unfused=unfused, rewrite=rewrite)  # fmt: skip
    report = check(made.reference, [made.graph], images, console, max_images=max_images)
    result = making_json(output, made.graph, report)
    console.finish(result, f"{output}: {describe_graph(made.graph)}{verdict(report)}")
    return parity_code(report)

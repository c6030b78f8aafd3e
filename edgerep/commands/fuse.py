"""`edgerep fuse`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgerep.artefacts.kinds import SCHEMA, WEIGHTS_SUFFIX
from edgerep.checkpoints.formats import WRITERS
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.graph_options import given_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.option_values import Choice, shapes_from
from edgerep.commands.shared.options import (
    bn_eps_option,
    input_shape_option,
    model_option,
    output_option,
    source_argument,
)
from edgerep.commands.shared.outputs import require_output
from edgerep.commands.shared.sources import require_source


@click.command(
    "fuse",
    cls=Command,
    examples=(
        "edgerep fuse RepVGG-A0-train.pth -o a0.safetensors --to timm",
        "edgerep fuse - --model mynets.net:build -o n.safetensors --input-shape 3x64x64",
    ),
)
@source_argument
@output_option("A .safetensors file")
@model_option
@input_shape_option
@bn_eps_option
@click.option(
    "--to",
    type=Choice(WRITERS),
    default="official",
    show_default=True,
    help="Whose deploy names the weights get. Beware: mmpretrain 1.2.0 leaves "
    "squeeze-and-excitation out of a RepVGG built in deploy mode.",
)
@console_options  # fmt: skip
def command(
    source: str,
    output: Path,
    model: str | None,
    input_shapes: tuple[Any, ...],
    bn_eps: float | None,
    to: str,
    console: Console,
) -> None:
    """Fuse SOURCE into plain convolutions and print the certificate.

    SOURCE is a checkpoint, or the name of a published network (random weights); with --model a
    checkpoint of that network, or - for its weights as built. Without --input-shape, one image is
    assumed and its size found by trying.
    """
    shapes = shapes_from(input_shapes)
    require_source(
        source, given_options(), model=model,
        onnx="its BatchNorms were folded when it was exported; `edgerep export-onnx`, "
        "`build-engine` and `export-coreml` take it as it is",
    )  # fmt: skip
    require_output(output, WEIGHTS_SUFFIX, "fused weights", inputs=(source,))
    console.doing("start", "loading PyTorch")
    from edgerep.bench.report.text.certificate import certificate_text
    from edgerep.checkpoints.spelling import format_of
    from edgerep.commands.shared.stages import EXAMPLES, read_network
    from edgerep.export.fused_weights import save_weights
    from edgerep.fusion.fused import fuse
    from edgerep.networks.examples import example_inputs
    from edgerep.networks.interface import interface_of

    network = read_network(source, console, model=model, bn_eps=bn_eps)
    inputs = None
    if shapes is not None:
        specs = interface_of(network, size=1, shapes=shapes)
        inputs = example_inputs(network, [(EXAMPLES, *spec.shape) for spec in specs])
    if to != "official":  # refused before the work, where the code base has no such network
        format_of(to, network.state_dict())
    console.doing("fuse", "fusing, and checking it in float64")
    fused = fuse(network, inputs=inputs)
    if fused.certificate is None:
        raise AssertionError("fuse certifies unless told not to")
    record = save_weights(fused, output, to=to)
    console.progress("write", f"{output}")
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "output": str(output),
        "sha256": record.sha256,
        "names": to,
        **fused.certificate.to_json(),
    }
    console.finish(result, certificate_text(fused.certificate))

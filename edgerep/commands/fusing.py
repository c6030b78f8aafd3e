"""`edgerep fuse`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgerep.certificate import Certificate
from edgerep.commands.console import Console, console_options
from edgerep.commands.making import EXAMPLES, read_network
from edgerep.commands.options import (
    bn_eps_option,
    input_shape_option,
    model_option,
    output_option,
    shapes_from,
)
from edgerep.errors import OptionError
from edgerep.examples import example_inputs
from edgerep.files import require_writable
from edgerep.fusion import fuse
from edgerep.interface import interface_of
from edgerep.tables import table
from edgerep.weights import save_weights


@click.command("fuse")
@click.argument("source")
@output_option("A .safetensors file")
@model_option
@input_shape_option
@bn_eps_option
@console_options
def command(
    source: str,
    output: Path,
    model: str | None,
    input_shapes: tuple[Any, ...],
    bn_eps: float | None,
    console: Console,
) -> None:
    """Fuse SOURCE into plain convolutions and print the certificate.

    SOURCE is a checkpoint, or the name of a published RepVGG (random weights); with --model a
    checkpoint of that network, or - for its weights as built. Without --input-shape, one image is
    assumed and its size found by trying.
    """
    if output.suffix != ".safetensors":
        raise OptionError(f"{output}: fused weights are written as .safetensors")
    require_writable(output)
    network = read_network(source, console, model=model, bn_eps=bn_eps)
    inputs = None
    if (shapes := shapes_from(input_shapes)) is not None:
        specs = interface_of(network, size=1, shapes=shapes)
        inputs = example_inputs(network, [(EXAMPLES, *spec.shape) for spec in specs])
    fused = fuse(network, inputs=inputs)
    if fused.certificate is None:
        raise AssertionError("fuse certifies unless told not to")
    record = save_weights(fused, output)
    console.progress("write", f"{output}")
    result: dict[str, Any] = {
        "schema": 1,
        "output": str(output),
        "sha256": record.sha256,
        **fused.certificate.to_json(),
    }
    console.finish(result, certificate_text(fused.certificate))


def certificate_text(certificate: Certificate) -> str:
    """The certificate as a table and two sentences."""
    rows = [
        (
            block.name,
            block.kind,
            f"{block.float64_max_abs:.1e}",
            f"{block.float64_rel:.1e}",
            f"{block.float32_rel:.1e}",
        )
        for block in certificate.blocks
    ]
    text = table(("block", "branches", "max abs f64", "rel f64", "rel f32"), rows)
    eps = ", ".join(f"{value:g}" for value in certificate.bn_eps) or "none"
    sentence = (
        f"{certificate.architecture}, {certificate.source_format}: "
        f"{certificate.branches_before} branches and {certificate.batchnorms_before} BatchNorms "
        f"(eps {eps}) became {len(certificate.blocks)} convolutions; "
        f"{certificate.parameters_before:,} parameters became {certificate.parameters_after:,}."
    )
    lines = [text, "", sentence]
    if network := certificate.network:
        lines.append(
            f"Whole network, relative to itself unfused in float64: fused in float64 "
            f"{network.float64_rel:.1e}; in float32 {network.fused_float32_rel:.1e} fused, "
            f"{network.unfused_float32_rel:.1e} unfused."
        )
    for name, reason in certificate.left_unfused:
        lines.append(f"Left as it was: {name}: {reason}")
    return "\n".join(lines)

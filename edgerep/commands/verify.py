"""`edgerep verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.graph_options import given_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.images import read_aloud, require_calibration
from edgerep.commands.shared.option_values import SourceType, shapes_from
from edgerep.commands.shared.options import (
    bn_eps_option,
    image_options,
    input_shape_option,
    model_option,
)
from edgerep.commands.shared.sources import require_source, require_there
from edgerep.errors import MissingRuntimeError


@click.command(
    "verify",
    cls=Command,
    examples=(
        "edgerep verify RepVGG-A0-train.pth a0.onnx a0.engine a0.mlpackage",
        "edgerep verify a0.onnx a0.engine --calibration images.npz --json",
    ),
)
@click.argument("reference", type=SourceType())
@click.argument("artefacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--batch", "sizes", multiple=True, type=click.IntRange(min=1),
              help="Check this size instead of the artefacts' own; may be repeated.")  # fmt: skip
@click.option("--strict", is_flag=True,
              help="Exit with 4 when an artefact was not run.")  # fmt: skip
@model_option
@input_shape_option
@image_options
@bn_eps_option
@console_options
def command(
    reference: str,
    artefacts: tuple[Path, ...],
    sizes: tuple[int, ...],
    strict: bool,
    model: str | None,
    input_shapes: tuple[Any, ...],
    calibration: Path | None,
    max_images: int | None,
    fit: str,
    image_preset: str | None,
    bn_eps: float | None,
    console: Console,
) -> int:
    """Compare ARTEFACTS with REFERENCE, the network as it was trained.

    REFERENCE is a checkpoint or the name of a published network; with --model a checkpoint of that
    network, or - for its weights as built. It is run unfused in float64. Or it is an ONNX file,
    evaluated in float64: agreement is then with that file, not with a network.
    Exit code 1 when an artefact disagrees, 4 when none of them can be run here, with --strict
    also when one of them can not.
    """
    require_source(reference, given_options(), model=model)
    require_there(*artefacts)
    require_calibration(calibration, given_options())
    images = (
        read_aloud(calibration, fit, image_preset, console, most=max_images)
        if calibration
        else None
    )
    shapes = shapes_from(input_shapes)
    console.doing("start", "loading PyTorch")
    from edgerep.bench.parity.verification import verify
    from edgerep.bench.report.text.parity import one_line, parity_table
    from edgerep.commands.shared.checking import watched
    from edgerep.commands.shared.comparing import runnable_at
    from edgerep.commands.shared.stages import read_network

    console.doing("parity", "reading the reference")
    network = None
    if model is not None:
        network = read_network(reference, console, model=model, bn_eps=bn_eps)
    report = verify(
        reference if network is None else network,
        [runnable_at(path, network, shapes, console) for path in artefacts],
        batch=sizes,
        calibration=images,
        max_images=max_images,
        bn_eps=bn_eps,
        progress=lambda result: console.progress("parity", one_line(result)),
        watch=watched(console),
    )
    waiting = [result for result in report.artefacts if not result.ran]
    if waiting and (not report.ran or (strict and report.passed)):
        reasons = "; ".join(sorted({str(result.why_not) for result in waiting}))
        which = ", ".join(result.path for result in waiting) if report.ran else "none"
        error = MissingRuntimeError(
            f"{which} was not run here, and --strict asks for all: {reasons}"
            if report.ran
            else f"none of the artefacts can be run here: {reasons}"
        )
        return console.finish_in_vain(report.to_json(), parity_table(report), error)
    console.finish(report.to_json(), parity_table(report))
    return 0 if report.passed else 1

"""`edgerep build-engine`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgerep.artefacts.files import require_writable
from edgerep.artefacts.kinds import ENGINE_SUFFIXES, kind_of
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.graph_options import graph_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.images import read_given
from edgerep.commands.shared.options import (
    image_options,
    keep_onnx_option,
    network_options,
    output_option,
    precision_option,
    repair_option,
    runtime_option,
    source_argument,
)
from edgerep.commands.shared.outputs import require_kept, require_no_input, require_output
from edgerep.commands.shared.sources import require_source
from edgerep.devices import first_cuda_device
from edgerep.errors import OptionError
from edgerep.export.engine.purpose import good_for
from edgerep.export.engine.settings import EngineOptions, capability_names

_MIB = 1 << 20


@click.command(
    "build-engine",
    cls=Command,
    examples=(
        "edgerep build-engine RepVGG-A0-train.pth -o a0.engine --batch 1:8:32 --precision fp16",
        "edgerep build-engine a0.onnx -o a0.engine --runtime tensorrt-rtx --compute-capability 8.6",
    ),
)
@source_argument
@output_option("The .engine file")
@precision_option
@repair_option
@runtime_option("auto: TensorRT where it and a GPU are here, else RTX.")
@click.option(
    "--workspace",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Scratch memory the builder may plan with, in MiB.",
)
@click.option(
    "--timing-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TensorRT: read and write kernel timings here.",
)
@click.option(
    "--hardware-compatible",
    is_flag=True,
    help="TensorRT: run on other GPUs of the Ampere generation and later.",
)
@click.option("--version-compatible", is_flag=True, help="TensorRT: run with later releases too.")
@click.option(
    "--compute-capability",
    multiple=True,
    metavar="X.Y",
    help="TensorRT-RTX: build for this GPU generation only; may be repeated.",
)
@click.option(
    "--dla",
    type=click.IntRange(min=0),
    metavar="CORE",
    help="TensorRT on Jetson: run on this DLA core.",
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    help="TensorRT: how long the builder searches.",
)
@keep_onnx_option
@network_options
@image_options
@console_options  # fmt: skip
def command(
    source: str,
    output: Path,
    precision: str | None,
    runtime: str,
    workspace: int | None,
    timing_cache: Path | None,
    hardware_compatible: bool,
    version_compatible: bool,
    compute_capability: tuple[str, ...],
    dla: int | None,
    optimization_level: int | None,
    keep_onnx: Path | None,
    calibration: Path | None,
    max_images: int | None,
    console: Console,
    **options: Any,
) -> int:
    """Build an engine from SOURCE and compare it where it can run.

    SOURCE is a checkpoint (of the network that --model names, or - for its weights as built), the
    name of a published RepVGG or MobileOne, or an ONNX file. TensorRT-RTX builds without a GPU; the
    engine is compared where there is one, and the graph it was built from in any case.
    """
    wanted = graph_options(options)
    wanted.require_precisions([precision], images=calibration is not None)
    require_source(source, wanted.given, model=wanted.model)
    require_output(output, ENGINE_SUFFIXES, "an engine", inputs=(source, calibration))
    require_kept(keep_onnx, inputs=(source, output, calibration))
    if timing_cache is not None:
        require_no_input(timing_cache, (source, output, keep_onnx, calibration))
        require_writable(timing_cache)
    asked = EngineOptions(
        workspace_bytes=None if workspace is None else workspace * _MIB,
        timing_cache=timing_cache,
        hardware_compatible=hardware_compatible,
        version_compatible=version_compatible,
        compute_capability=capability_names(compute_capability),
        dla=dla,
        optimization_level=optimization_level,
    )
    onnx = kind_of(source) == "onnx"  # which may be of any precision
    if dla is not None and not wanted.batch.is_static:
        raise OptionError(f"a DLA takes no dynamic batch, and --batch is {wanted.batch}: give one")
    from edgerep.export.engine.readiness import ready_runtime

    ready_runtime(runtime, asked, half=onnx or precision == "fp16", quantized=onnx,
                  bfloat=precision == "bf16")  # fmt: skip
    images = read_given(calibration, wanted, console, onnx=onnx, precisions=[precision])
    from edgerep.commands.shared.onnx_source import open_source  # loads onnx alone

    opened = open_source(source, wanted, images, precision=precision)
    console.doing("start", "loading PyTorch, ONNX and the runtime")
    from edgerep.commands.shared.checking import check, making_json, parity_code, verdict
    from edgerep.commands.shared.stages import describe_engine, graph_beside, make_graph
    from edgerep.export.engine.building import build_engine

    with graph_beside(output, keep_onnx) as onnx_path:
        made = make_graph(source, opened, onnx_path, wanted, precision=precision, console=console,
                          images=images, rewrite=keep_onnx is not None)  # fmt: skip
        console.doing("engine", f"building {output.name}")
        engine = build_engine(
            made.graph,
            output,
            runtime=runtime,
            workspace_bytes=asked.workspace_bytes,
            timing_cache=timing_cache,
            hardware_compatible=hardware_compatible,
            version_compatible=version_compatible,
            compute_capability=compute_capability,
            dla=dla,
            optimization_level=optimization_level,
            progress=lambda phase: console.detail("engine", phase),
        )
        console.progress("engine", describe_engine(engine))
        report = check(made.reference, [made.graph, engine], images, console, max_images=max_images)
    device = first_cuda_device() if engine.runtime == "tensorrt" else None
    uses = good_for(
        engine.runtime, engine.runtime_version, engine.options, engine=output.name,
        graph=Path(source).name if onnx else keep_onnx.name if keep_onnx else None,
        built_on=asdict(device) if device else None,
    )  # fmt: skip
    result = {**making_json(output, engine, report), "good_for": list(uses)}
    said = "".join(f"{output.name} {use}\n" for use in uses)
    console.finish(result, f"{said}{output}: {describe_engine(engine)}{verdict(report)}")
    return parity_code(report)

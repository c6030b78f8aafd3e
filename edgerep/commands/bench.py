"""`edgerep bench`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from edgerep.artefacts.files import require_writable
from edgerep.artefacts.kinds import kind_of
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.graph_options import graph_options
from edgerep.commands.shared.help_page import Command
from edgerep.commands.shared.option_values import SourceType
from edgerep.commands.shared.options import rounds_option, shape_options
from edgerep.commands.shared.outputs import require_no_input
from edgerep.commands.shared.readiness import require_device
from edgerep.commands.shared.sources import require_source, require_there
from edgerep.errors import MissingRuntimeError, OptionError

_TIMED_AS_THEY_ARE = ("onnx", "engine", "coreml")
_OF_NETWORKS = ("--model", "--bn-eps", "--input-shape", "--size", "--device")


@click.command(
    "bench",
    cls=Command,
    examples=(
        "edgerep bench RepVGG-A0-train.pth --batch 1:8:32 -o bench.json",
        "edgerep bench a0.onnx a0.engine --threads 4 --no-memory",
    ),
)
@click.argument("subjects", nargs=-1, required=True, type=SourceType())
@rounds_option("Turns of each case, interleaved in random order.")
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="CPU cores for one operation; 0 for all of this machine's.",
)
@click.option("--device", default="cpu", show_default=True, help="Where torch networks run.")
@click.option(
    "--memory/--no-memory",
    default=True,
    show_default=True,
    help="Measure peak memory in a fresh process per case.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result as JSON here too.",
)
@shape_options
@console_options  # fmt: skip
def command(
    subjects: tuple[str, ...],
    rounds: int,
    threads: int,
    device: str,
    memory: bool,
    seed: int,
    output: Path | None,
    console: Console,
    **options: Any,
) -> int:
    """Time SUBJECTS against each other.

    A checkpoint, or the name of a published RepVGG or MobileOne, is timed unfused and fused, by
    PyTorch and as ONNX graphs: as trained, with BatchNorm folded by the exporter, and fused. So is
    a checkpoint of the network that --model names, or - for its weights as built. An artefact
    (.onnx, .engine, .mlpackage) is timed as it is. --batch 1:8:32 times all three sizes.
    """
    if output is not None:
        require_no_input(output, subjects)
        require_writable(output)
    wanted = graph_options(options)
    networks = [subject for subject in subjects if kind_of(subject) not in _TIMED_AS_THEY_ARE]
    require_there(*(Path(one) for one in subjects if one not in networks))
    if not networks and (wrong := [name for name in _OF_NETWORKS if name in wanted.given]):
        raise OptionError(
            f"{', '.join(wrong)}: only for networks, and {', '.join(subjects)} is timed as it is"
        )
    for subject in networks:
        require_source(subject, wanted.given, model=wanted.model)
    require_device(device)
    console.doing("start", "loading PyTorch")
    from edgerep.bench.report.text.timing import bench_tables
    from edgerep.bench.timing.harness import run_bench
    from edgerep.bench.timing.result_file import write_result
    from edgerep.commands.shared.stages import forms_of, fuse_network, read_network

    with tempfile.TemporaryDirectory(prefix="edgerep-") as folder:
        given: list[Any] = []
        for index, subject in enumerate(subjects):
            if subject not in networks:
                given.append(Path(subject))
                continue
            model = read_network(subject, console, model=wanted.model, bn_eps=wanted.bn_eps)
            place = Path(folder) / str(index)
            place.mkdir()
            given += forms_of(model, fuse_network(model, wanted, console), place, wanted)
        result = run_bench(
            given,
            batch=wanted.batch.sizes,
            rounds=rounds,
            threads=threads,
            size=wanted.size,
            input_shapes=wanted.input_shapes,
            device=device,
            memory=memory,
            seed=seed,
            progress=lambda text: console.step("bench", text),
        )
    if output is not None:
        write_result(result, output)
    if not result.cases:
        error = MissingRuntimeError("none of the subjects can be timed here; each says why above")
        return console.finish_in_vain(result.to_json(), bench_tables(result), error)
    console.finish(result.to_json(), bench_tables(result))
    return 0

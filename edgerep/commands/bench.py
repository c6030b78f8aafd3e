"""`edgerep bench`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from edgerep.artefacts.files import require_writable
from edgerep.artefacts.kinds import kind_of
from edgerep.bench.report.text.timing import bench_tables
from edgerep.bench.timing.harness import run_bench
from edgerep.bench.timing.intervals import MIN_ROUNDS
from edgerep.bench.timing.result_file import write_result
from edgerep.commands.shared.console import Console, console_options
from edgerep.commands.shared.graph_options import graph_options
from edgerep.commands.shared.options import network_options
from edgerep.commands.shared.stages import forms_of, fuse_network, read_network
from edgerep.errors import MissingRuntimeError

_TIMED_AS_THEY_ARE = ("onnx", "engine", "coreml")


@click.command("bench")
@click.argument("subjects", nargs=-1, required=True)
@click.option(
    "--rounds",
    type=click.IntRange(min=MIN_ROUNDS),
    default=30,
    show_default=True,
    help="Turns of each case, interleaved in random order.",
)
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
@network_options
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
) -> None:
    """Time SUBJECTS against each other.

    A checkpoint, or the name of a published RepVGG, is timed unfused and fused, by PyTorch and as
    ONNX graphs: as trained, with BatchNorm folded by the exporter, and fused. So is a checkpoint
    of the network that --model names, or - for its weights as built. An artefact (.onnx, .engine,
    .mlpackage) is timed as it is. --batch 1:8:32 times all three sizes.
    """
    if output is not None:
        require_writable(output)
    wanted = graph_options(options)
    with tempfile.TemporaryDirectory(prefix="edgerep-") as folder:
        given: list[Any] = []
        for index, subject in enumerate(subjects):
            if kind_of(subject) in _TIMED_AS_THEY_ARE:
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
            progress=lambda text: console.progress("bench", text),
        )
    if output is not None:
        write_result(result, output)
    console.finish(result.to_json(), bench_tables(result))
    if not result.cases:
        raise MissingRuntimeError("none of the subjects can be timed here; each says why above")

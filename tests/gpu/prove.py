"""Everything that needs an NVIDIA GPU, in one call: see README.md beside this file.

    python tests/gpu/prove.py --output RESULTS [--carried FOLDER] [--stage torch ...]

Each stage writes RESULTS/STAGE.json as soon as there is something to write, whole or not at all: a
run that is stopped keeps what it has. A stage that cannot run writes why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # from a checkout, installed or not

STAGES = ("torch", "ceiling", "rtx", "tensorrt", "context")
NETWORKS = ("RepVGG-A0", "RepVGG-B1", "RepVGG-B1g4", "RepVGG-B3")


def results_of(stage: str, options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """What a stage found so far, again and again until it is done."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        yield {"not_run": "no CUDA device"}
        return
    if stage == "torch":
        from torch_stage import run_torch

        yield from run_torch(
            options.device, options.networks, seconds=options.seconds, size=options.size,
            rounds=options.rounds,
        )  # fmt: skip
        return
    import other_stages

    if stage == "ceiling":
        yield other_stages.run_ceilings(options.device)
    elif options.carried is None:
        yield {"not_run": "no engines: give --carried, the folder that prepare.py made"}
    elif stage == "context":
        yield other_stages.run_context(options.carried)
    else:
        runtime = {"rtx": "tensorrt-rtx"}.get(stage, stage)
        yield other_stages.run_engines(options.carried, runtime)


def guarded(stage: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    try:
        yield from results_of(stage, options)
    except Exception as error:  # the next stage is independent of this one
        yield {"not_run": f"{type(error).__name__}: {error}"}


def environment() -> dict[str, Any]:
    import torch

    found = {"python": platform.python_version(), "torch": torch.__version__,
             "cuda": torch.version.cuda, "system": platform.platform()}  # fmt: skip
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["compute_capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
        found["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return found


def write(path: Path, document: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--stage", nargs="*", choices=STAGES, default=STAGES)
    parser.add_argument("--carried", type=Path)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--seconds", type=float, default=480.0, help="for the torch stage")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    about = environment()
    for stage in options.stage:
        found: dict[str, Any] = {}
        for found in guarded(stage, options):
            document = {"schema": 1, "stage": stage, "environment": about, **found}
            write(options.output / f"{stage}.json", document)
        print(f"{stage}: {found.get('not_run', 'done')}", flush=True)


if __name__ == "__main__":
    main()

"""Everything that needs an NVIDIA GPU, in one call: see README.md beside this file.

    python tests/gpu/prove.py --output RESULTS [--carried FOLDER] [--stage torch ...]

Each stage writes RESULTS/STAGE.json as soon as there is something to write, whole or not at all: a
run that is stopped keeps what it has. `done` is null until the stage has ended, then true; or false
where `not_run` says why it could not run, or not to its end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import checkout  # noqa: F401  (finds edgerep)

from edgerep.artefacts.files import replacing
from edgerep.bench.machine.environment import environment

STAGES = ("torch", "ceiling", "rtx", "tensorrt", "int8", "range", "context", "commands")
WRITE_EVERY_SECONDS = 2.0  # what a killed run may lose
NETWORKS = ("RepVGG-A0", "RepVGG-B1", "RepVGG-B1g4", "RepVGG-B3")


def results_of(stage: str, options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """What a stage found so far, again and again until it is done."""
    cuda = options.device == "cuda"
    if cuda and (reason := no_gpu()):
        return [{"not_run": reason}]
    if stage == "torch":
        from torch_stage import run_torch

        return run_torch(
            options.device, options.networks, seconds=options.seconds, size=options.size,
            rounds=options.rounds, tuned=options.cudnn_benchmark,
        )  # fmt: skip
    if stage == "ceiling":
        from ceiling_stage import run_ceilings

        return run_ceilings(options.device)
    if stage == "commands":
        from command_stage import run_commands

        return run_commands(options.output, options.device)
    if options.carried is None:
        return [{"not_run": "nothing was carried: give --carried, what install.py made"}]
    if not cuda:
        return [{"not_run": "needs a CUDA device, and --device is cpu"}]
    if stage == "context":
        from context_stage import run_context

        return run_context(options.carried)
    if stage == "int8":
        from int8_stage import run_int8

        return run_int8(options.carried / "int8")
    if stage == "range":
        from range_stage import run_ranges

        return run_ranges(options.carried / "range")
    from engine_stage import run_engines

    return run_engines(options.carried, "tensorrt" if stage == "tensorrt" else "tensorrt-rtx")


def no_gpu() -> str | None:
    """Why there is none, asked of the driver: not every Python here has torch."""
    from edgerep.devices import first_cuda_device

    return "no CUDA device was found" if first_cuda_device() is None else None


def guarded(stage: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """As `results_of`; what breaks a stage off is added to what it had found."""
    found: dict[str, Any] = {}
    try:
        for found in results_of(stage, options):
            yield {**found, "done": None}
    except Exception as error:  # the next stage is independent of this one
        words = (str(error).strip() or "no message").splitlines()[0]
        yield {**found, "done": False, "not_run": f"{type(error).__name__}: {words}"}
        return
    yield {**found, "done": "not_run" not in found}


def about() -> dict[str, Any]:
    """The machine, and PyTorch's libraries where PyTorch is."""
    found = environment()
    try:
        import torch
    except ModuleNotFoundError:
        return found
    found["torch"] = {"cuda": torch.version.cuda}
    if torch.cuda.is_available():
        found["torch"] |= {
            "gpu": torch.cuda.get_device_name(),
            "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return found


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
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try its kernels")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    machine = about()
    for stage in options.stage:
        started = time.monotonic()
        written = -WRITE_EVERY_SECONDS
        found: dict[str, Any] = {}
        for found in guarded(stage, options):
            now = time.monotonic() - started
            if now - written < WRITE_EVERY_SECONDS and found["done"] is None:
                continue
            written = now
            about_it = {"schema": 1, "stage": stage, "environment": machine, "seconds": now}
            with replacing(options.output / f"{stage}.json") as partial:
                partial.write_text(json.dumps({**about_it, **found}) + "\n")
        print(f"{stage}: {found.get('not_run', 'done')}", flush=True)


if __name__ == "__main__":
    main()

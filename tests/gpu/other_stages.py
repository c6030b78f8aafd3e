"""The card's own ceilings; engines made elsewhere; one process with two users of the card."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgerep.bench.timing import measure


def run_ceilings(device: str) -> dict[str, Any]:
    """What the card reaches in plain products and copies: what a network is to be held against."""
    side = 8192 if device != "cpu" else 512
    found: dict[str, Any] = {"device": _name(device)}
    for name, dtype, tf32 in (
        ("fp16", torch.float16, False),
        ("bf16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("fp32", torch.float32, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        seconds = _median_seconds(lambda a=a, b=b: a @ b, device)
        found[f"{name}_product_flops"] = 2 * side**3 / seconds
    x = torch.empty((1 << 30) // 4 if device != "cpu" else 1 << 22, device=device)
    y = torch.empty_like(x)
    found["copy_bytes_per_s"] = 2 * x.nbytes / _median_seconds(lambda: y.copy_(x), device)
    tiny = torch.zeros(1, device=device)
    found["launch_seconds"] = _median_seconds(lambda: tiny.add_(1), device)
    return found


def run_engines(folder: Path, runtime: str) -> dict[str, Any]:
    """Load each engine of a folder that `prepare.py` filled, compare it, and time it.

    Beside `NAME.engine` lies `NAME.npz` with `image` and `truth`, the unfused network's outputs in
    float64, for the largest batch of the profile.
    """
    from edgerep.bench.artefacts import open_artefact
    from edgerep.bench.comparison import compare

    results = []
    for path in sorted(folder.glob("*.engine")):
        artefact = open_artefact(path)
        if artefact.runtime != runtime:
            continue
        fields: dict[str, Any] = {"engine": path.name, "precision": artefact.precision}
        results.append(fields)
        if artefact.why_not is not None:
            fields["not_run"] = artefact.why_not
            continue
        try:
            with np.load(path.with_suffix(".npz")) as file, artefact.open() as session:
                image, truth = file["image"], file["truth"]
                fields["how"] = session.how
                fields["batches"] = []
                for batch in artefact.batch.sizes:
                    twice = [session.run(image[:batch])[0] for _ in range(2)]
                    samples = measure({"engine": session.bind(image[:batch])}, rounds=20)
                    fields["batches"].append(
                        {
                            "batch": batch,
                            "rel_l2": compare(twice[0], truth[:batch]).rel_l2,
                            "outputs_are_copies": twice[0] is not twice[1]
                            and bool(np.array_equal(twice[0], twice[1])),
                            "samples_ms": [s / 1e6 for s in samples["engine"].flat_ns],
                        }
                    )
        except Exception as error:  # the next engine may load
            fields["not_run"] = f"{type(error).__name__}: {error}"
    return {"runtime": runtime, "engines": results}


def run_context(folder: Path) -> dict[str, Any]:
    """A thousand sessions opened and closed beside torch in one process: what memory is left."""
    from edgerep.bench.artefacts import open_artefact

    torch.zeros(1, device="cuda")
    path = next(iter(sorted(folder.glob("*.engine"))))
    artefact = open_artefact(path)
    if artefact.why_not is not None:
        return {"not_run": artefact.why_not}
    free = []
    for cycle in range(1000):
        with artefact.open() as session:
            if cycle == 0:
                with np.load(path.with_suffix(".npz")) as file:
                    session.run(file["image"][: artefact.batch.smallest])
        if cycle % 100 == 99:
            free.append(torch.cuda.mem_get_info()[0])
    after = float((torch.ones(4, device="cuda") * 2).sum())
    return {"engine": path.name, "free_bytes_every_100": free, "torch_still_right": after == 8.0}


def _median_seconds(call: Any, device: str, count: int = 20) -> float:
    taken = []
    for _ in range(count + 3):
        start = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[3:])


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device != "cpu" else "CPU"

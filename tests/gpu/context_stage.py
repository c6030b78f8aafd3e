"""A session's CUDA context beside torch's, in one process; what a thousand sessions leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine_stage import images_of

from edgerep.bench.artefacts import open_artefact
from edgerep.bench.tensorrt_session import TensorrtSession

CYCLES = 1000
STEP = 50  # cycles between two looks at the free memory


def run_context(carried: Path) -> Iterator[dict[str, Any]]:
    """The result so far; of the smallest engine in the folder that runs here.

    `free_bytes` is the device's free memory after every `STEP` cycles of opening, running and
    closing: it has settled after the first, and must then stay. `torch_unchanged` says that a
    network of torch's gives the same bits before the first session, inside one and after the last.
    `outputs_are_copies` says that outputs keep their values when the next inference has run.
    """
    paths = sorted(carried.glob("*.engine"), key=lambda path: path.stat().st_size)
    reasons = {path.name: open_artefact(path).why_not for path in paths}
    path = next((path for path in paths if reasons[path.name] is None), None)
    if path is None:
        yield {"not_run": f"no engine runs here: {reasons or 'there is none'}"}
        return
    artefact = open_artefact(path)
    # Kernels that TensorRT-RTX has compiled once are read back: a thousand compilations take hours.
    cache = carried / "context.cache" if artefact.runtime == "tensorrt-rtx" else None
    (shape,) = (spec.shape[1:] for spec in artefact.inputs)
    batch = artefact.batch.smallest
    first, second = (images_of(carried)[at : at + batch] for at in (0, batch))
    assert first.shape[1:] == shape
    layer = torch.nn.Conv2d(3, 8, 3).cuda()
    x = torch.from_numpy(first).cuda()
    found: dict[str, Any] = {"engine": path.name, "step": STEP, "free_bytes": []}
    with torch.inference_mode():
        before = layer(x)
        with TensorrtSession(path, runtime_cache=cache) as session:
            (mine,) = session.run(first)
            kept = mine.copy()
            (other,) = session.run(second)
            found["outputs_are_copies"] = bool(
                np.array_equal(mine, kept) and not np.array_equal(mine, other)
            )
            inside = layer(x)
        for cycle in range(CYCLES):
            with TensorrtSession(path, runtime_cache=cache) as session:
                session.run(first)
            if cycle % STEP == STEP - 1:
                found["cycles"] = cycle + 1
                found["free_bytes"].append(torch.cuda.mem_get_info()[0])
                yield found
        found["torch_unchanged"] = bool(
            torch.equal(before, inside) and torch.equal(before, layer(x))
        )
    found["lost_bytes"] = found["free_bytes"][0] - found["free_bytes"][-1]
    yield found

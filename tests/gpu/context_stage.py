"""What a thousand sessions leave; and a session's CUDA context beside torch's, in one process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from engine_stage import images_of

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.bench.sessions.tensorrt_session import TensorrtSession

CYCLES = 1000
STEP = 50  # cycles between two looks at the free memory


def run_context(carried: Path) -> Iterator[dict[str, Any]]:
    """The result so far; of the smallest engine, carried or built here, that runs here.

    `free_bytes` is the device's free memory after every `STEP` cycles of opening, running and
    closing: it has settled after the first, and must then stay. `outputs_are_copies` says that
    outputs keep their values when the next inference has run. `torch_unchanged` says that a
    network of torch's gives the same bits before the first session, inside one and after the last;
    None where this Python has no torch.
    """
    paths = sorted(carried.rglob("*.engine"), key=lambda path: path.stat().st_size)
    reasons = {path.name: open_runnable(path).why_not for path in paths}
    path = next((path for path in paths if reasons[path.name] is None), None)
    if path is None:
        yield {"not_run": f"no engine runs here: {reasons or 'there is none'}"}
        return
    from edgerep.bench.sessions.engine import cuda

    runnable = open_runnable(path)
    # Kernels that TensorRT-RTX has compiled once are read back: a thousand compilations take hours.
    cache = carried / "context.cache" if runnable.runtime == "tensorrt-rtx" else None
    batch = runnable.batch.smallest
    first, second = (images_of(carried)[at : at + batch] for at in (0, batch))
    found: dict[str, Any] = {"engine": path.name, "step": STEP, "free_bytes": []}
    answer = _torch_network(first)
    answers = [answer()] if answer else []
    with TensorrtSession(path, runtime_cache=cache) as session:
        (mine,) = session.run(first)
        kept = mine.copy()
        (other,) = session.run(second)
        found["outputs_are_copies"] = bool(
            np.array_equal(mine, kept) and not np.array_equal(mine, other)
        )
        answers += [answer()] if answer else []
    for cycle in range(CYCLES):
        with TensorrtSession(path, runtime_cache=cache) as session:
            session.run(first)
        if cycle % STEP == STEP - 1:
            found["cycles"] = cycle + 1
            with cuda.current_context():
                found["free_bytes"].append(cuda.free_bytes())
            yield found
    answers += [answer()] if answer else []
    found["torch_unchanged"] = (
        all(np.array_equal(answers[0], later) for later in answers) if answers else None
    )
    found["lost_bytes"] = found["free_bytes"][0] - found["free_bytes"][-1]
    yield found


def _torch_network(images: Array) -> Callable[[], Array] | None:
    """A layer of torch's on the device, as a call that gives its answer; None without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    layer = torch.nn.Conv2d(3, 8, 3).cuda()
    x = torch.from_numpy(images).cuda()

    def answer() -> Array:
        with torch.inference_mode():
            found: Array = layer(x).cpu().numpy()
            return found

    return answer

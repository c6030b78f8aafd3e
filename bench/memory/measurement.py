"""Memory of any runnable, each kind in its own way."""

from __future__ import annotations

import copy

from edgerep.bench.memory.engine import memory_of_engine
from edgerep.bench.memory.memory import (
    Memory,
    module_memory,
    module_weights_bytes,
    onnx_memory,
)
from edgerep.bench.sessions.runnable import Runnable


def memory_of(runnable: Runnable, batch: int, *, threads: int, device: str) -> Memory:
    """Memory at one batch size: measured in a process of its own, or as an engine states it.

    Args:
        runnable: One that can be run here.
        batch: The batch size; an engine speaks of the largest of its profile instead.
        threads: CPU cores for one operation; 0 leaves the runtime's own choice.
        device: Where torch modules run; only memory of the CPU is measured.
    """
    inputs = [spec.sized(batch) for spec in runnable.inputs]
    if runnable.kind == "engine":
        return memory_of_engine(runnable.open)
    if runnable.kind == "coreml":
        return _unmeasured(None, "Core ML's daemons hold a package's memory")
    if runnable.module is None:
        assert runnable.path is not None  # an ONNX file
        return onnx_memory(runnable.path, inputs, threads=threads)
    if device != "cpu":
        weights = module_weights_bytes(runnable.module)
        return _unmeasured(weights, f"host memory says nothing about {device}")
    module = runnable.module
    quiet = copy.deepcopy(module).eval() if module.training else module
    return module_memory(quiet, inputs, threads=threads)


def _unmeasured(weights_bytes: int | None, why: str) -> Memory:
    return Memory(weights_bytes, None, None, f"not measured: {why}")

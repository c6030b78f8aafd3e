"""An engine's own account of its device memory, as the bench's `Memory`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from edgerep.bench.memory.memory import Memory
from edgerep.bench.sessions.engine.device_memory import EngineMemory
from edgerep.errors import EdgerepError

_MIB = 1 << 20


def memory_of_engine(open_session: Callable[[], AbstractContextManager[Any]]) -> Memory:
    """Open an engine and ask it how much memory it needs; where that fails, `how` says why.

    It needs no process of its own: the numbers are the engine's account of itself, and not a
    difference of what is free on the device, which others use too.

    Args:
        open_session: Gives a `TensorrtSession`, which is closed again.
    """
    try:
        with open_session() as session:
            return _in_words(session.memory(), session.how)
    except EdgerepError as error:
        return Memory(None, None, None, f"not measured: {error}")


def _in_words(found: EngineMemory, runtime: str) -> Memory:
    parts = (("weights", found.weights_bytes), ("activations", found.activations_bytes))
    said = [
        f"{what} are `ICudaEngine.{name}`"
        for (what, value), name in zip(parts, found.asked, strict=True)
        if value is not None
    ]
    unsaid = [what for what, value in parts if value is None]
    if not said:
        return Memory(None, None, None, f"not measured: this release cannot say it ({runtime})")
    how = f"device memory as the engine states it ({runtime}): {', '.join(said)}"
    if found.activations_bytes is not None:
        how += ", the scratch memory of one context at the largest batch of the profile"
    if unsaid:
        how += f"; this release does not state the {unsaid[0]}"
    how += (
        f"; not in it: {found.io_bytes / _MIB:.2f} MiB of inputs and outputs at that batch, the "
        f"CUDA context and the libraries. No peak was measured"
    )
    return Memory(found.weights_bytes, found.activations_bytes, None, how)

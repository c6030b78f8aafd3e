"""What an engine says of the device memory that it needs, and how that was asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from edgerep.bench.memory import Memory
from edgerep.errors import EdgerepError

_MIB = 1 << 20
# By the release that brought each: 10.3 and later, and what 11 removed.
_SCRATCH = ("device_memory_size_v2", "device_memory_size")
_WEIGHTS = "get_engine_stat"  # 10.16 and later
_WEIGHTS_ARGUMENT = "TOTAL_WEIGHTS_SIZE"


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Device memory by the engine's own account; None is what its release cannot say.

    Attributes:
        weights_bytes: Of the weights.
        activations_bytes: Scratch memory of one execution context, enough for the largest batch
            of the profile.
        io_bytes: Of the inputs and outputs at the largest batch, which edgerep allocates.
        asked: The names under which the runtime was asked for the first two, in their order; ""
            where this release has none.
    """

    weights_bytes: int | None
    activations_bytes: int | None
    io_bytes: int
    asked: tuple[str, str]


class _SaysMemory(Protocol):
    how: str

    def memory(self) -> EngineMemory: ...


def engine_memory(trt: Any, engine: Any, io_bytes: int) -> EngineMemory:
    """Ask a deserialized engine, whatever release of TensorRT or TensorRT-RTX it is of.

    Args:
        trt: The runtime's module.
        engine: Its `ICudaEngine`.
        io_bytes: Of the buffers for inputs and outputs.
    """
    weights, weights_asked = None, ""
    if hasattr(engine, _WEIGHTS):
        weights = engine.get_engine_stat(getattr(trt.EngineStat, _WEIGHTS_ARGUMENT))
        weights_asked = f"{_WEIGHTS}({_WEIGHTS_ARGUMENT})"
    scratch_asked = next((name for name in _SCRATCH if hasattr(engine, name)), "")
    scratch = getattr(engine, scratch_asked) if scratch_asked else None
    # The runtime's word for a question that it has no answer to is -1.
    return EngineMemory(
        weights_bytes=weights if weights is not None and weights >= 0 else None,
        activations_bytes=scratch if scratch is not None and scratch >= 0 else None,
        io_bytes=io_bytes,
        asked=(weights_asked, scratch_asked),
    )


def memory_of_engine(open_session: Callable[[], AbstractContextManager[_SaysMemory]]) -> Memory:
    """Open an engine, and put what it says of its memory into the bench's terms.

    Nothing is timed meanwhile, so no process of its own is needed: the numbers are the engine's
    account of itself and not a difference of what is free on the device, which others use too.
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

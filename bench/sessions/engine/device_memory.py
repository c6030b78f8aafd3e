"""What an engine states about the device memory that it needs, by which names of the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# The newer name first: TensorRT 10.3 and later have it, and 11 has removed the older one.
_SCRATCH = ("device_memory_size_v2", "device_memory_size")
_WEIGHTS = "get_engine_stat"  # 10.16 and later
_WEIGHTS_ARGUMENT = "TOTAL_WEIGHTS_SIZE"


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Device memory by an engine's own account; None is what its release cannot say.

    Attributes:
        weights_bytes: Of the weights.
        activations_bytes: Scratch memory of one execution context, enough for the largest batch
            of the profile.
        io_bytes: Of the inputs and outputs at the largest batch, which edgerep allocates.
        asked: The names under which the runtime was asked for `weights_bytes` and
            `activations_bytes`; "" where this release has none.
    """

    weights_bytes: int | None
    activations_bytes: int | None
    io_bytes: int
    asked: tuple[str, str]


def engine_memory(trt: Any, engine: Any, io_bytes: int) -> EngineMemory:
    """What a deserialized engine states, whatever release of TensorRT or TensorRT-RTX runs it.

    Args:
        trt: The runtime's module.
        engine: Its `ICudaEngine`.
        io_bytes: What edgerep allocates for inputs and outputs, passed through.
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

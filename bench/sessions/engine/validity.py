"""What TensorRT-RTX says about an engine from its header alone, in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgerep.errors import MissingRuntimeError
from edgerep.export.engine.header import Plan
from edgerep.export.engine.runtime import heard, load_runtime, log_of

# `EngineInvalidityDiagnostics` of TensorRT-RTX 1.7; a name that a later release adds is said as is.
_WORDS = {
    "VERSION_MISMATCH": "it was built by another release: build it again with this one",
    "UNSUPPORTED_CC": "it does not run on the compute capability of this GPU",
    "OLD_CUDA_DRIVER": "the NVIDIA driver is too old for it",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old for it",
    "INSUFFICIENT_GPU_MEMORY": "this GPU has too little memory for it",
    "MALFORMED_ENGINE": "its header is damaged, or of another format: copy or build it again",
    "CUDA_ERROR": "CUDA reported an error while it was looked at",
}


@dataclass(frozen=True, slots=True)
class Validity:
    """The runtime's verdict on an engine for this machine.

    Attributes:
        verdict: "valid", "suboptimal" (it runs, and one built for this GPU would be faster),
            "invalid", or "unknown": without a driver the runtime rejects good engines as well.
        reasons: In words, with the runtime's own name for each, and then what the runtime itself
            said: whether the engine can be built again for this GPU, for example.
    """

    verdict: str
    reasons: tuple[str, ...]


def validity_of(path: Path, plan: Plan) -> Validity | None:
    """TensorRT-RTX's verdict on a file; None for TensorRT, which only tells by loading an engine.

    Args:
        path: The engine.
        plan: Its header.

    Raises:
        MissingDependencyError: TensorRT-RTX is not installed.
        MissingRuntimeError: TensorRT-RTX cannot be loaded or started.
        OSError: The file cannot be read.
    """
    if plan.runtime != "tensorrt-rtx":
        return None
    trt = load_runtime(plan.runtime)
    with heard(trt) as lines:
        try:
            runtime = trt.Runtime(log_of(trt))
        except (TypeError, RuntimeError) as error:  # the bindings' word for a null pointer
            raise MissingRuntimeError(f"{trt.__name__} {trt.__version__} cannot start") from error
        with path.open("rb") as file:
            file.seek(plan.offset)
            header = file.read(runtime.engine_header_size)
        lines.clear()  # of its greetings
        found = judged(trt, runtime, header)
    if found.verdict != "invalid":
        return found
    return replace(found, reasons=(*found.reasons, *(line.text.rstrip(".") for line in lines)))


def judged(trt: Any, runtime: Any, header: bytes) -> Validity:
    """The verdict on the first bytes of an engine; `header` may be longer than the runtime needs.

    Args:
        trt: The module `tensorrt_rtx`.
        runtime: Its `Runtime`.
        header: At least `runtime.engine_header_size` bytes, or the engine is malformed.
    """
    found, bits = runtime.get_engine_validity(header[: runtime.engine_header_size])
    members = trt.EngineInvalidityDiagnostics.__members__
    names = [name for name, member in members.items() if int(bits) & int(member)]
    verdict = found.name.lower()
    if verdict == "invalid" and not names:
        verdict = "unknown"
    return Validity(
        verdict, tuple(f"{_WORDS[name]} ({name})" if name in _WORDS else name for name in names)
    )

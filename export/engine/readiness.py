"""Can an engine be built here, as asked? What is known without a graph is refused without one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgerep.devices import first_cuda_device
from edgerep.errors import MissingRuntimeError, OptionError
from edgerep.export.engine.runtime import choose_runtime, load_runtime
from edgerep.export.engine.settings import (
    BuildSettings,
    EngineOptions,
    build_settings,
    symbols_of,
)

_CAPABILITY = re.compile(r"SM\d{2,3}|CURRENT")  # as `capability_names` spells 8.6, 12.0 and current


def require_capabilities(names: Sequence[str]) -> None:
    """Refuse what cannot be a compute capability, whatever the runtime knows.

    Args:
        names: As `capability_names` gives them.

    Raises:
        OptionError: At least one is none.
    """
    if wrong := [name for name in names if not _CAPABILITY.fullmatch(name)]:
        raise OptionError(
            f"{', '.join(wrong)} is no compute capability: give one such as 8.6 or 12.0, or current"
        )


def ready_runtime(
    runtime: str, options: EngineOptions, *, half: bool, quantized: bool, bfloat: bool = False
) -> tuple[str, Any, BuildSettings]:
    """The runtime to build with, its module, and its settings.

    Args:
        runtime: "tensorrt", "tensorrt-rtx" or "auto".
        options: What the user asked for.
        half: The graph has, or may have, float16 tensors.
        quantized: The graph has, or may have, Q/DQ operators.
        bfloat: The graph has bfloat16 tensors.

    Raises:
        MissingRuntimeError: No runtime that can build is here; MissingDependencyError names the
            extra to install.
        OptionError: The runtime cannot honour an option.
    """
    require_capabilities(options.compute_capability)
    runtime = choose_runtime(runtime)
    trt = load_runtime(runtime)
    symbols = symbols_of(trt, runtime)
    settings = build_settings(symbols, options, half=half, quantized=quantized, bfloat=bfloat)
    if runtime == "tensorrt" and first_cuda_device() is None:
        raise MissingRuntimeError(
            "TensorRT builds an engine on the GPU that it is for, and no CUDA device was found: "
            "build on the device, or with the runtime tensorrt-rtx, which needs none"
        )
    return runtime, trt, settings

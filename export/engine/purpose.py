"""Where an engine runs and where it does not, in words, with the commands for the other places.

Sources: the support matrix and the pages on engine compatibility of TensorRT-RTX, and of TensorRT
its pages on version and on hardware compatibility.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a TensorRT-RTX engine runs on that was built for no compute capability in particular.
_RTX_DEFAULT = "8.0, 8.6, 8.9, 12.0 and later"


def good_for(
    runtime: str,
    version: str,
    options: Mapping[str, Any],
    *,
    engine: str,
    graph: str | None = None,
    built_on: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Sentences about where an engine is of use.

    Args:
        runtime: "tensorrt" or "tensorrt-rtx".
        version: Of the library that built it.
        options: What was asked of the build, by the names of `EngineOptions`.
        engine: The name of its file.
        graph: The name of the ONNX file that it was made from, where that is kept.
        built_on: `name` and `compute_capability` of the GPU it was built on, where that is known.
    """
    if runtime == "tensorrt-rtx":
        asked = tuple(map(_capability, options.get("compute_capability") or ()))
        cards = ", ".join(asked) or _RTX_DEFAULT
        source = graph or "model.onnx"
        first = "" if graph else f"`edgerep export-onnx SOURCE -o {source}`, "
        runs = (
            f"runs on RTX cards of compute capability {cards}, on x86-64 under Linux and Windows, "
            f"with TensorRT-RTX {version} and no other release"
        )
        instead = (
            f"not on a Jetson, nor under TensorRT; for a Jetson: {first}copy {source} to it, and "
            f"there `edgerep build-engine {source} -o {engine} --runtime tensorrt`"
        )
        return runs, instead
    major = version.partition(".")[0]
    releases = (
        f"TensorRT {version} and later releases of {major}"
        if options.get("version_compatible")
        else f"TensorRT {version} and no other release (--version-compatible: later ones too)"
    )
    there = built_on or {}
    capability = there.get("compute_capability")
    name = there.get("name")
    kind = f"compute capability {capability}" if capability else "the kind it was built on"
    kind += f" ({name})" if name else ""
    cards = (
        "every GPU of the Ampere generation and later that is no Jetson"
        if options.get("hardware_compatible")
        else f"GPUs of {kind} and no other (--hardware-compatible: those from Ampere on too)"
    )
    if options.get("dla") is not None:
        cards = f"DLA cores of the kind that it was built on{f' ({name})' if name else ''}"
    instead = (
        f"for another GPU or release: take the ONNX file there, and there "
        f"`edgerep build-engine {graph or 'model.onnx'} -o {engine}`"
    )
    return f"runs with {releases}, on {cards}", instead


def _capability(name: str) -> str:
    digits = name.removeprefix("SM")
    return f"{digits[:-1]}.{digits[-1]}" if digits.isdecimal() else name.lower()

"""Files' kinds by suffix; precisions, runtimes and systems by name. Imports nothing of edgerep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SCHEMA = 1  # of the JSON in records, results and what commands print

ONNX_SUFFIX = ".onnx"
ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
PACKAGE_SUFFIX = ".mlpackage"
WEIGHTS_SUFFIX = ".safetensors"  # of the weights that edgerep writes; it reads the others too
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", WEIGHTS_SUFFIX)

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-weights", "fp8")  # that edgerep writes
NOT_IN_COREML = ("bf16", "fp8")  # of these, what no Core ML package can have
RUNTIMES = ("tensorrt", "tensorrt-rtx")  # of engines
# The oldest system that a package has to run on, as `coremltools.target` calls it; rising.
COREML_TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
OLDEST_TARGETS = {"int8-weights": "iOS16", "int8": "iOS17"}  # that know these precisions
DEFAULT_TARGET = "iOS16"  # int8 activations need a later one

_KINDS: Mapping[str, str] = {
    ONNX_SUFFIX: "onnx",
    **dict.fromkeys(ENGINE_SUFFIXES, "engine"),
    PACKAGE_SUFFIX: "coreml",
    **dict.fromkeys(CHECKPOINT_SUFFIXES, "weights"),
}


def kind_of(path: str | Path) -> str | None:
    """What a file is, by its suffix: "onnx", "engine", "coreml" or "weights"; None for others."""
    return _KINDS.get(Path(path).suffix.lower())


def suffixes_of(*kinds: str) -> str:
    """The suffixes of these kinds of files, separated by commas, for a message."""
    return ", ".join(suffix for suffix, kind in _KINDS.items() if kind in kinds)

"""Let a runtime give tensors from inside a graph beside its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx


def outputs_of(path: Path) -> tuple[str, ...]:
    """The names of the outputs of an ONNX file."""
    model = onnx.load(str(path), load_external_data=False)
    return tuple(value.name for value in model.graph.output)


def with_inner_tensors(path: Path, names: Sequence[str]) -> bytes:
    """An ONNX file with more of its tensors among its outputs.

    Their types and shapes are left out: runtimes infer them. Weights outside of the file stay
    there, by paths relative to its folder.
    """
    model = onnx.load(str(path), load_external_data=False)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in known
    )
    return model.SerializeToString()

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


_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")


def sums_of(graph: onnx.GraphProto) -> frozenset[str]:
    """The tensors of a graph that layers and additions compute.

    Additions of a constant are none: a mask may add infinity on purpose.
    """
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return frozenset(
        node.output[0]
        for node in graph.node
        if node.op_type in _LAYERS
        or (node.op_type == "Add" and not constants.intersection(node.input))
    )

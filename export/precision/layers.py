"""The layers of an ONNX graph: what multiplies a tensor by constant weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import GraphIndex, settings_of

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: `Conv`, `ConvTranspose`, `Gemm` or `MatMul` with constant float32 weights.

    Attributes:
        name: Of its weights, without the word "weight"; that of its node where they have none.
        node: Its operator in the graph.
        source: The tensor that it multiplies.
        output: The tensor that it makes, biases of its own included.
        weight: The name of its weights.
        bias: The name of its biases [outputs]; "" if it has none.
        groups: Into how many groups its channels fall; inputs of one go to outputs of the same.
        outputs: The axis of the weights along which its output channels lie; of a
            `ConvTranspose` those of one group.
    """

    name: str
    node: onnx.NodeProto
    source: str
    output: str
    weight: str
    bias: str
    groups: int
    outputs: int

    @property
    def operator(self) -> str:
        return str(self.node.op_type)

    @property
    def source_axis(self) -> int:
        """The axis of `source` along which the input channels lie."""
        return -1 if self.operator == "MatMul" else 1

    def rows(self, weight: Array) -> Array:
        """Weights as [groups, outputs of a group, inputs of a group, positions of the kernel]."""
        if self.operator == "MatMul":
            return weight.T[None, :, :, None]
        if self.operator == "Gemm":
            return (weight if self.outputs == 0 else weight.T)[None, :, :, None]
        if self.operator == "ConvTranspose":
            split = weight.reshape(self.groups, -1, *weight.shape[1:])
            flat = split.reshape(*split.shape[:3], -1)
            return flat.transpose(0, 2, 1, 3)
        return weight.reshape(self.groups, -1, weight.shape[1], int(np.prod(weight.shape[2:])))

    def from_rows(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """The contrary of `rows`: weights of `shape`."""
        if self.operator == "MatMul":
            return rows[0, :, :, 0].T
        if self.operator == "Gemm":
            return rows[0, :, :, 0] if self.outputs == 0 else rows[0, :, :, 0].T
        if self.operator == "ConvTranspose":
            return rows.transpose(0, 2, 1, 3).reshape(shape)
        return rows.reshape(shape)


def layers_in(graph: onnx.GraphProto) -> tuple[Layer, ...]:
    """The layers of a graph, in its order.

    A `Gemm` is one only as networks have it: its first factor not transposed, its biases one per
    output, no factors but 1.
    """
    index = GraphIndex(graph)
    found: list[Layer] = []
    names: set[str] = set()
    for node in graph.node:
        layer = _layer(node, index)
        if layer is None:
            continue
        name, number = layer.name, 2
        while name in names:
            name, number = f"{layer.name}:{number}", number + 1
        names.add(name)
        found.append(Layer(**{**layer.__dict__, "name": name}))
    return tuple(found)


def _layer(node: onnx.NodeProto, index: GraphIndex) -> Layer | None:
    if node.domain not in ("", "ai.onnx") or len(node.input) < 2:
        return None
    weight = index.constant(node.input[1])
    if weight is None or weight.dtype != np.float32 or not node.input[0]:
        return None
    if index.constant(node.input[0]) is not None:
        return None
    settings = settings_of(node)
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias and index.constant(bias) is None:
        return None
    groups, outputs = 1, 0
    if node.op_type in ("Conv", "ConvTranspose"):
        groups = settings.get("group", 1)
        outputs = 0 if node.op_type == "Conv" else 1
    elif node.op_type == "Gemm":
        factors = (settings.get("alpha", 1.0), settings.get("beta", 1.0))
        outputs = 0 if settings.get("transB", 0) else 1
        biases = index.constant(bias) if bias else None
        per_output = biases is None or biases.shape == (weight.shape[outputs],)
        if settings.get("transA", 0) or factors != (1.0, 1.0) or not per_output:
            return None
    elif node.op_type == "MatMul":
        if weight.ndim != 2:
            return None
        outputs = 1
    else:
        return None
    stem = node.input[1].removesuffix("weight").rstrip("._/")
    name = stem if node.input[1].endswith("weight") and stem else node.name or node.output[0]
    return Layer(name, node, node.input[0], node.output[0], node.input[1], bias, groups, outputs)


def put_constant_in_place(graph: onnx.GraphProto, node: onnx.NodeProto, at: int, value: Array,
                          fallback: str) -> str:  # fmt: skip
    """Give a node another constant as its input `at`; others that read the old one keep it.

    Args:
        graph: Changed in place.
        node: Of the graph; its list of inputs is lengthened where it is shorter.
        at: The place among the inputs.
        value: The new constant.
        fallback: What it is called if the node has no such input yet.

    Returns:
        The name of the constant.
    """
    old = node.input[at] if at < len(node.input) else ""
    readers = sum(name == old for other in graph.node for name in other.input) if old else 0
    stored = next((t for t in graph.initializer if t.name == old), None) if old else None
    # A constant of another shape gets another name: what is noted of its shape stands elsewhere.
    if stored is not None and readers == 1 and list(stored.dims) == list(value.shape):
        stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), old))
        return old
    name = _unused(graph, old or fallback)
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    node.input.extend([""] * (at + 1 - len(node.input)))
    node.input[at] = name
    return name


def _unused(graph: onnx.GraphProto, stem: str) -> str:
    taken = {tensor.name for tensor in graph.initializer}
    taken.update(name for node in graph.node for name in node.output)
    taken.update(value.name for value in graph.input)
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    return name

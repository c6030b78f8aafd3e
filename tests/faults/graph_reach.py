"""Reaching into an ONNX graph that a fault is planted in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]
Generator = np.random.Generator
GraphFault = Callable[[onnx.ModelProto, Generator], None]


class NoPlaceError(Exception):
    """There is nothing that a fault could be planted in."""


def one_of(choices: Sequence[Any], rng: Generator) -> Any:
    if not choices:
        raise NoPlaceError
    return choices[int(rng.integers(len(choices)))]


def nodes_of(model: onnx.ModelProto, *operators: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in operators]


def tensors_in(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def array_of(model: onnx.ModelProto, name: str) -> Array:
    return numpy_helper.to_array(tensors_in(model)[name]).copy()


def put(model: onnx.ModelProto, name: str, value: Array) -> None:
    tensor = tensors_in(model)[name]
    old = numpy_helper.to_array(tensor)
    if np.array_equal(old, value):
        raise NoPlaceError
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value).astype(old.dtype), name))


def weights_of(model: onnx.ModelProto, *operators: str, taps: int = 1) -> list[str]:
    """The weights of layers; with `taps`, only those of kernels that wide."""
    known = tensors_in(model)
    found = [
        node.input[1]
        for node in nodes_of(model, *(operators or ("Conv", "ConvTranspose", "Gemm", "MatMul")))
        if len(node.input) > 1 and node.input[1] in known
    ]
    return [n for n in found if taps == 1 or [*known[n].dims, 0, 0, 0, 0][3] >= taps]


def biases_of(model: onnx.ModelProto) -> list[str]:
    known = tensors_in(model)
    return [
        node.input[2]
        for node in nodes_of(model, "Conv", "Gemm", "ConvTranspose")
        if len(node.input) > 2 and node.input[2] in known
    ]


def attribute_of(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def bypass(model: onnx.ModelProto, node: onnx.NodeProto, source: str) -> None:
    """Let a node be the identity of one of its inputs."""
    node.op_type = "Identity"
    del node.attribute[:]
    node.input[:] = [source]

"""Chains of convolutions made hard to quantise: what trainings do to channels, in a controlled way.

A chain is a graph whose convolutions and fully connected layers follow each other with nothing
between them but ReLU and means over positions, as those of a fused RepVGG do: a positive factor of
a channel passes through.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

LAYERS = ("Conv", "Gemm")
PASSED = ("Relu", "ReduceMean", "GlobalAveragePool", "Flatten", "Reshape", "Identity")
DEAD_SHARE = 0.04  # of the channels that an identity block takes


@dataclass(eq=False)
class Layer:
    """Weights float64 [outputs, inputs of a group, ...] and bias [outputs] of a convolution."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    groups: int

    @property
    def outputs(self) -> int:
        return len(self.weight)

    def scale_outputs(self, factors: NDArray[np.float64]) -> None:
        self.weight *= factors.reshape(-1, *[1] * (self.weight.ndim - 1))
        self.bias *= factors

    def scale_inputs(self, factors: NDArray[np.float64]) -> None:
        rows = self.outputs // self.groups
        for group, part in enumerate(factors.reshape(self.groups, -1)):
            mine = slice(group * rows, (group + 1) * rows)
            self.weight[mine] *= part.reshape(1, -1, *[1] * (self.weight.ndim - 2))

    def scale_identity(self, channel: int, factor: float) -> None:
        """The centre tap through which a channel passes to itself."""
        centre = tuple(side // 2 for side in self.weight.shape[2:])
        self.weight[(channel, channel % self.weight.shape[1], *centre)] *= factor


def with_random_scales(model: onnx.ModelProto, decades: float, *, seed: int = 0) -> onnx.ModelProto:
    """The same function, each channel between two layers times its own factor.

    Factors are log-uniform from 10^-decades to 10^decades; the next layer undoes them.
    """
    rng = np.random.default_rng(seed)
    made, names, layers = _opened(model)
    for before, after in pairwise(layers):
        factors = 10 ** rng.uniform(-decades, decades, before.outputs)
        before.scale_outputs(factors)
        after.scale_inputs(1 / factors)
    return _closed(made, names, layers)


def with_large_activations(model: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """The same function, with everything between the first and the last layer times `factor`."""
    made, names, layers = _opened(model)
    for before, after in pairwise(layers):
        factors = np.full(before.outputs, factor)
        before.scale_outputs(factors)
        after.scale_inputs(1 / factors)
    return _closed(made, names, layers)


def with_dead_identities(model: onnx.ModelProto, eps: float, *, seed: int = 0) -> onnx.ModelProto:
    """Another function: identity branches whose BatchNorm has nearly no variance left.

    4 % of the channels of each block with an identity, one at least, arrive times `eps`, and pass
    to themselves times 1 / `eps`. What else reads them sees nearly nothing: compare the result
    with its own float32 answers.
    """
    rng = np.random.default_rng(seed)
    made, names, layers = _opened(model)
    for before, after in pairwise(layers):
        if after.weight.ndim != 4 or after.outputs != before.outputs:
            continue
        count = max(1, round(DEAD_SHARE * before.outputs))
        dead = rng.choice(before.outputs, count, replace=False)
        factors = np.ones(before.outputs)
        factors[dead] = eps
        before.scale_outputs(factors)
        for channel in dead:
            after.scale_identity(int(channel), 1 / eps)
    return _closed(made, names, layers)


def _opened(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[tuple[str, ...]], list[Layer]]:
    """A copy of the graph, its layers' tensors by name, and the layers in order, in float64."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    values = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    names, layers = [], []
    for node in made.graph.node:
        if node.op_type not in LAYERS:
            if node.op_type not in PASSED and node.input and node.op_type != "Constant":
                raise ValueError(f"{node.name} is a {node.op_type}: the graph is no chain")
            continue
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Gemm" and not attributes.get("transB"):
            raise ValueError(f"{node.name} has its inputs first: only transB=1 is read")
        names.append(tuple(node.input[1:]))
        weight, *bias = (values[name].astype(np.float64) for name in node.input[1:])
        layers.append(
            Layer(weight, bias[0] if bias else np.zeros(len(weight)), attributes.get("group", 1))
        )
    return made, names, layers


def _closed(
    made: onnx.ModelProto, names: list[tuple[str, ...]], layers: list[Layer]
) -> onnx.ModelProto:
    """The copy with the layers' weights in it, in float32."""
    new: dict[str, NDArray[np.float64]] = {}
    for tensors, layer in zip(names, layers, strict=True):
        new |= dict(zip(tensors, (layer.weight, layer.bias), strict=False))
    for tensor in made.graph.initializer:
        if tensor.name in new:
            values = new[tensor.name].astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return made

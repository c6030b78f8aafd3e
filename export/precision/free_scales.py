"""Which channels of a graph may be rescaled without changing what it computes.

A channel that is divided by `s` where it is made can be multiplied by `s` where it is read, if all
that stands between is positively homogeneous: `f(x / s) = f(x) / s` for `s > 0`. This was found for
pairs of convolutions around a ReLU (Nagel et al., arXiv 1906.04721, section 4.1); here it is done
for any graph: every channel of every tensor gets a variable, operators between layers make some of
them equal (a sum needs both sides alike, a pool hands its input's on), and those that reach what
is not homogeneous stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgerep.export.graph.index import GraphIndex, settings_of
from edgerep.export.precision.layers import Layer, layers_in
from edgerep.export.precision.scale_variables import (
    Variables,
    components,
    narrowed,
    shapes_of,
    widened,
)

_FIXED = 0  # the variable of what must stay as it is
_MOST = 1 << 25  # numbers of a tensor whose positions are followed one by one

_SAME = {"Relu", "LeakyRelu", "Abs", "Neg", "Identity", "Dropout", "Cast", "PRelu"}
_POOLS = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "GlobalLpPool"}
_REDUCING = {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL1", "ReduceL2"}
_TOGETHER = {"Add", "Sub", "Sum", "Max", "Min", "Mean"}
_RESHAPING = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
_MOVING = {"Slice", "Split", "Gather", "DepthToSpace", "SpaceToDepth", "Expand", "Tile"}
_ASKING = {"Shape", "Size", "Constant"}  # what they make depends on no number


@dataclass(frozen=True, eq=False)
class FreeScales:
    """The scales that a graph leaves open.

    Attributes:
        count: How many there are; number 0 is that of all channels that must stay as they are.
        variables: By the name of a tensor, which scale each of its channels has: of the rank of
            the tensor, 1 along axes that share it.
        layers: What absorbs scales.
        fixed: By the name of a tensor, at which node and why it must stay as it is.
    """

    count: int
    variables: Mapping[str, Variables]
    layers: tuple[Layer, ...]
    fixed: Mapping[str, str]

    def of(self, name: str, axis: int) -> Variables:
        """The scale of each channel of a tensor, [C]; one number for all if it has one."""
        found = self.variables[name]
        return np.moveaxis(found, axis, 0).reshape(-1)


def free_scales(model: onnx.ModelProto) -> FreeScales:
    """Find what may be rescaled in a graph of float32.

    Args:
        model: It stays as it is. Its inputs and outputs stay as they are too.

    Raises:
        OnnxError: The shapes that the graph notes contradict each other.
    """
    return _Search(model).result()


class _Search:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.index = GraphIndex(model.graph)
        self.opsets = list(model.opset_import)
        self.shapes = shapes_of(model)
        self.layers = {layer.node.output[0]: layer for layer in layers_in(model.graph)}
        self.known: dict[str, Variables] = {}
        self.count = 1
        self.left: list[Variables] = []
        self.right: list[Variables] = []
        self.fixings: list[tuple[Variables, str]] = []

    def result(self) -> FreeScales:
        for value in self.index.inputs:
            self.known[value.name] = self._nothing(value.name)
        for node in self.graph.node:
            self._read(node)
        for name in self.index.outputs:
            if name in self.known:
                self._fix(name, "it is an output of the graph")
        labels = components(self.count, self.left, self.right)
        why: dict[int, str] = {}
        for variables, reason in self.fixings:
            for label in np.unique(labels[variables]):
                why.setdefault(int(label), reason)
        why.setdefault(int(labels[_FIXED]), "")
        taken = np.zeros(self.count, bool)
        taken[list(why)] = True
        free = ~taken[labels]
        names, numbers = np.unique(labels[free], return_inverse=True)
        dense = np.zeros(self.count, np.int64)
        dense[free] = numbers + 1
        fixed = {}
        for name, variables in self.known.items():
            of = labels[variables].reshape(-1)
            reasons = [why[label] for label in np.unique(of[taken[of]]).tolist() if why[label]]
            if reasons:
                fixed[name] = reasons[0]
        return FreeScales(
            len(names) + 1,
            {name: dense[variables] for name, variables in self.known.items()},
            tuple(self.layers.values()),
            fixed,
        )

    # What one node says.

    def _read(self, node: onnx.NodeProto) -> None:
        kind = node.op_type if node.domain in ("", "ai.onnx") else ""
        if kind in _ASKING or (
            node.input and all(map(self._is_constant, filter(None, node.input)))
        ):
            return
        layer = self.layers.get(node.output[0]) if node.output else None
        try:
            made = self._between(node, kind) if layer is None else self._layer(layer)
        except _NotFollowedError as error:
            made = None
            reason = f"{error} ({node.op_type} `{node.name or node.output[0]}`)"
        else:
            reason = f"{node.op_type} `{node.name or node.output[0]}` is not homogeneous"
        if made is None:
            for name in node.input:
                if name in self.known:
                    self._fix(name, reason)
            made = {}
        for name in node.output:
            if name:
                self.known[name] = made.get(name, self._nothing(name))

    def _layer(self, layer: Layer) -> dict[str, Variables] | None:
        rank = self._rank(layer.output)
        source = self._of(layer.source)
        axis = layer.source_axis % source.ndim
        if any(size != 1 for at, size in enumerate(source.shape) if at != axis):
            raise _NotFollowedError("its input has other scales than one for each channel")
        weight = self.index.constant(layer.weight)
        assert weight is not None  # or it would be no layer
        groups, outputs = layer.rows(weight).shape[:2]
        shape = [1] * rank
        shape[layer.source_axis % rank] = groups * outputs
        return {layer.output: self._new(groups * outputs).reshape(shape)}

    def _between(self, node: onnx.NodeProto, kind: str) -> dict[str, Variables] | None:
        first, output = node.input[0] if node.input else "", node.output[0] if node.output else ""
        if kind in _SAME and (kind != "Cast" or _casts_to_float(node)):
            return {output: self._of(first)}
        if kind == "Clip":
            return {output: self._of(first)} if self._is_relu(node) else None
        if kind in _POOLS or kind in _REDUCING:
            return {output: self._pooled(node, kind)}
        if kind == "Pad":
            return {output: self._padded(node)}
        if kind in ("Resize", "Upsample"):
            return {output: self._spatially(first)}
        if kind in _TOGETHER:
            return {output: self._together(node, kind)}
        if kind in ("Mul", "Div"):
            return self._product(node, kind)
        if kind == "Concat":
            return {output: self._concatenated(node)}
        if kind == "Transpose":
            order = settings_of(node).get("perm")
            return {output: self._of(first).transpose(order)}
        if kind in _RESHAPING:
            return {output: self._reshaped(first, output)}
        if kind in _MOVING:
            return self._moved(node)
        return None

    def _pooled(self, node: onnx.NodeProto, kind: str) -> Variables:
        source = self._of(node.input[0])
        if kind in _POOLS:
            return self._spatially(node.input[0])
        settings = settings_of(node)
        axes = settings.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1]:
            constant = self.index.constant(node.input[1])
            if constant is None:
                raise _NotFollowedError("its axes are computed")
            axes = constant.tolist()
        taken = [axis % source.ndim for axis in (axes or range(source.ndim))]
        if any(source.shape[axis] != 1 for axis in taken):
            raise _NotFollowedError("it mixes channels")
        if settings.get("keepdims", 1):
            return source
        return source.reshape([s for at, s in enumerate(source.shape) if at not in taken])

    def _padded(self, node: onnx.NodeProto) -> Variables:
        source = self._of(node.input[0])
        settings = settings_of(node)
        mode = settings.get("mode", b"constant")
        pads = settings.get("pads") or self._numbers(node, 1)
        value = self._numbers(node, 2) or [settings.get("value", 0)]
        if pads is None or len(pads) != 2 * source.ndim:
            raise _NotFollowedError("its pads are computed")
        moved = [at for at in range(source.ndim) if pads[at] or pads[at + source.ndim]]
        if any(source.shape[at] != 1 for at in moved):
            raise _NotFollowedError("it pads channels")
        if mode == b"constant" and any(value):
            raise _NotFollowedError("it pads with a number other than 0")
        return source

    def _spatially(self, name: str) -> Variables:
        source = self._of(name)
        if any(size != 1 for size in source.shape[2:]):
            raise _NotFollowedError("positions of its input have other scales")
        return source

    def _together(self, node: onnx.NodeProto, kind: str) -> Variables:
        """A sum: all that is summed has the same scale; constants are rescaled with it."""
        rank = self._rank(node.output[0])
        parts = []
        for name in node.input:
            constant = self.index.constant(name)
            if constant is None and self._is_constant(name):
                raise _NotFollowedError("it adds a number that is computed from constants")
            if constant is None:
                parts.append(widened(self._of(name), rank))
            elif kind in ("Max", "Min", "Mean", "Sum") and np.any(constant):
                raise _NotFollowedError("it takes a number beside a tensor")
        shape = np.broadcast_shapes(*(part.shape for part in parts))
        spread = [np.broadcast_to(part, shape) for part in parts]
        for name in node.input:
            constant = self.index.constant(name)
            if constant is not None and constant.dtype != np.float32:
                raise _NotFollowedError("it adds a number of another type")
        for other in spread[1:]:
            self._equal(spread[0], other)
        return spread[0]

    def _product(self, node: onnx.NodeProto, kind: str) -> dict[str, Variables] | None:
        """A product with a constant, or with a tensor that stays as it is (a gate)."""
        rank = self._rank(node.output[0])
        left, right = node.input[0], node.input[1]
        if self._is_constant(right):
            return {node.output[0]: self._spread(left, right, rank)}
        if self._is_constant(left):
            return {node.output[0]: self._spread(right, left, rank)} if kind == "Mul" else None
        if left == right:
            return None
        gates = [name for name in (left, right) if not self._of(name).any()]
        if not gates or (kind == "Div" and right not in gates):
            return None
        other = left if gates[-1] == right else right
        return {node.output[0]: self._spread(other, gates[-1], rank)}

    def _spread(self, name: str, beside: str, rank: int) -> Variables:
        """The scales of a tensor that is multiplied, element by element, by another."""
        found = widened(self._of(name), rank)
        shape = self.shapes.get(beside)
        constant = self.index.constant(beside)
        shape = constant.shape if constant is not None else shape
        sizes = self.shapes.get(name)
        if shape is None or sizes is None or len(sizes) < len(shape):
            raise _NotFollowedError("the shape of one of its factors is not known")
        return found

    def _concatenated(self, node: onnx.NodeProto) -> Variables:
        rank = self._rank(node.output[0])
        axis = settings_of(node)["axis"] % rank
        parts = []
        for name in node.input:
            if self._is_constant(name):
                raise _NotFollowedError("a part of it is constant")
            part, shape = self._of(name), self._shape(name)
            parts.append(np.broadcast_to(
                part, [shape[axis] if at == axis else s for at, s in enumerate(part.shape)]
            ))  # fmt: skip
        sizes = [max(part.shape[at] for part in parts) for at in range(rank)]
        spread = [
            np.broadcast_to(part, [part.shape[axis] if at == axis else sizes[at]
                                   for at in range(rank)])
            for part in parts
        ]  # fmt: skip
        return narrowed(np.concatenate(spread, axis))

    def _reshaped(self, name: str, output: str) -> Variables:
        source = self._of(name)
        shape, wanted = self._shape(name), self._shape(output)
        if int(np.prod(shape)) != int(np.prod(wanted)) or int(np.prod(shape)) > _MOST:
            raise _NotFollowedError("it mixes samples")
        return narrowed(np.broadcast_to(source, shape).reshape(wanted))

    def _moved(self, node: onnx.NodeProto) -> dict[str, Variables]:
        """An operator that only moves numbers, run on the scales instead of the numbers."""
        name = node.input[0]
        if any(other and self.index.constant(other) is None for other in node.input[1:]):
            raise _NotFollowedError("where it takes from is computed")
        shape = self._shape(name)
        if int(np.prod(shape)) > _MOST:
            raise _NotFollowedError("it is too large to be followed")
        feed: dict[str, Any] = {name: np.ascontiguousarray(np.broadcast_to(self._of(name), shape))}
        feed.update({other: self.index.constant(other) for other in node.input[1:] if other})
        graph = helper.make_graph(
            [node], "move",
            [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
             for n, v in feed.items()],
            [helper.make_tensor_value_info(n, TensorProto.INT64, None) for n in node.output],
        )  # fmt: skip
        try:
            runner = ReferenceEvaluator(helper.make_model(graph, opset_imports=self.opsets))
            found = runner.run(None, feed)
        except Exception as error:  # onnx's evaluator has no error of its own
            raise _NotFollowedError("it cannot be followed") from error
        return {n: narrowed(v) for n, v in zip(node.output, found, strict=True)}

    def _is_relu(self, node: onnx.NodeProto) -> bool:
        settings = settings_of(node)
        bounds = [settings.get("min"), settings.get("max")]
        for at in (1, 2):
            if at < len(node.input) and node.input[at]:
                constant = self.index.constant(node.input[at])
                if constant is None:
                    return False
                bounds[at - 1] = float(constant)
        low, high = bounds
        beyond = float(np.finfo(np.float32).max)
        return low in (None, 0.0) and (high is None or high >= beyond)

    # Variables.

    def _new(self, size: int) -> Variables:
        self.count += size
        return np.arange(self.count - size, self.count)

    def _equal(self, one: Variables, other: Variables) -> None:
        self.left.append(np.ascontiguousarray(one).reshape(-1))
        self.right.append(np.ascontiguousarray(np.broadcast_to(other, one.shape)).reshape(-1))

    def _fix(self, name: str, why: str) -> None:
        self.fixings.append((self.known[name].reshape(-1), why))

    def _of(self, name: str) -> Variables:
        if name not in self.known:
            raise _NotFollowedError(f"nothing is known of `{name}`")
        return self.known[name]

    def _nothing(self, name: str) -> Variables:
        return np.zeros([1] * len(self.shapes.get(name) or ()), np.int64)

    def _is_constant(self, name: str) -> bool:
        return name not in self.known

    def _numbers(self, node: onnx.NodeProto, at: int) -> list[float] | None:
        if at >= len(node.input) or not node.input[at]:
            return None
        constant = self.index.constant(node.input[at])
        return None if constant is None else constant.reshape(-1).tolist()

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.shapes.get(name)
        if shape is None or any(size is None for size in shape[1:]):
            raise _NotFollowedError(f"the shape of `{name}` is not known")
        return tuple(1 if size is None else size for size in shape)

    def _rank(self, name: str) -> int:
        shape = self.shapes.get(name)
        if shape is None:
            raise _NotFollowedError(f"the shape of `{name}` is not known")
        return len(shape)


class _NotFollowedError(Exception):
    """What stands there cannot be rescaled through; the message says why."""


def _casts_to_float(node: onnx.NodeProto) -> bool:
    return settings_of(node).get("to") == TensorProto.FLOAT

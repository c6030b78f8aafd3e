"""The operator table: for each ONNX operator, the function that emits it as MIL.

Closed on purpose. It holds what fused and unfused RepVGG-like networks are made of; any other
operator, and any attribute that is not listed beside its operator, is refused by name. Nothing
is approximated and nothing is merged: one ONNX node becomes one MIL operation wherever MIL has
one that means the same. Nodes that depend on constants only, `Constant` itself among them, never
get here: they are folded before.

Sources: the ONNX operator reference (opsets 13 to 21) and the MIL operator reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from onnx import TensorProto

from edgerep.export import mil_shapes, mil_windows
from edgerep.export.apple import mb, types
from edgerep.export.mil_node import Node, Var

Emit: TypeAlias = Callable[[Node], Var]

_CASTS = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.INT32: "int32"}


@dataclass(frozen=True)
class Operator:
    """How one ONNX operator is emitted, and the attributes that its function honours."""

    emit: Emit
    attributes: frozenset[str]


def emit(node: Node) -> Var:
    """Emit one node into the program being built.

    Raises:
        CoremlError: MIL cannot do exactly what the node says.
    """
    operator = OPERATORS[node.operator]
    unknown = sorted(set(node.attributes) - operator.attributes)
    if unknown:
        node.refuse(f"it has attributes that edgerep does not know: {', '.join(unknown)}")
    try:
        return operator.emit(node)
    except (ValueError, TypeError) as error:  # how coremltools' builder refuses
        node.refuse(str(error))


def _unary(builder: Any) -> Emit:
    return lambda node: builder(x=node.data(0), name=node.result)


def _binary(builder: Any) -> Emit:
    return lambda node: builder(x=node.data(0), y=node.data(1), name=node.result)


def _cast(node: Node) -> Var:
    x, to = node.data(0), node.get("to", None)
    if to not in _CASTS:
        name = TensorProto.DataType.Name(to)
        node.refuse(f"it casts to {name}; Core ML has FLOAT, FLOAT16 and INT32")
    if types.builtin_to_string(x.dtype) == _CASTS[to]:
        return x  # an image input: uint8 in ONNX, float32 in Core ML from the start
    return mb.cast(x=x, dtype=_CASTS[to], name=node.result)


def _clip(node: Node) -> Var:
    x = node.data(0)
    if node.is_constant(1) and node.is_constant(2):
        return mb.clip(x=x, alpha=node.data(1), beta=node.data(2), name=node.result)
    if node.has(1):
        name = node.result + "_floor" if node.has(2) else node.result
        x = mb.maximum(x=x, y=node.data(1), name=name)
    return mb.minimum(x=x, y=node.data(2), name=node.result) if node.has(2) else x


def _softmax(node: Node) -> Var:
    return mb.softmax(x=node.data(0), axis=node.get("axis", -1), name=node.result)


def _reduce_mean(node: Node) -> Var:
    x, axes = node.data(0), node.integers("axes", 1)
    if not axes and node.get("noop_with_empty_axes", 0):
        return x
    keep = bool(node.get("keepdims", 1))
    return mb.reduce_mean(
        x=x, axes=axes or list(range(x.rank)), keep_dims=keep, name=node.result
    )  # fmt: skip


def _batch_norm(node: Node) -> Var:
    node.require("training_mode", 0)
    x, epsilon = node.data(0), node.get("epsilon", 1e-5)
    if not 3 <= x.rank <= 5:  # the builder does not look
        node.refuse(f"its input has rank {x.rank}; batch_norm takes 3 to 5")
    gamma, beta, mean, variance = (node.constant(index) for index in range(1, 5))
    return mb.batch_norm(
        x=x, mean=mean, variance=variance, gamma=gamma, beta=beta,
        epsilon=types.nptype_from_builtin(x.dtype)(epsilon), name=node.result,
    )  # fmt: skip


def _matmul(node: Node) -> Var:
    return mb.matmul(x=node.data(0), y=node.data(1), name=node.result)


def _gemm(node: Node) -> Var:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    flip_a, flip_b = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    bias = _linear_bias(node)
    if node.is_constant(1) and bias is not None and not flip_a and alpha == beta == 1:
        weight = node.constant(1) if flip_b else node.constant(1).T.copy()  # [out, in]
        return mb.linear(x=node.data(0), weight=weight, bias=bias, name=node.result)
    return _gemm_in_steps(node, alpha, beta, flip_a, flip_b)


def _linear_bias(node: Node) -> np.ndarray[Any, Any] | None:
    """The third input of a Gemm as `linear` wants it, [out]; None where it does not fit."""
    if not node.is_constant(1):
        return None
    weight = node.constant(1)
    width = weight.shape[0 if node.get("transB", 0) else 1]
    if not node.has(2):
        return np.zeros(width, weight.dtype)
    if not node.is_constant(2):
        return None
    bias = np.asarray(node.constant(2))
    fits = bias.size in (1, width) and bias.size == (bias.shape or (1,))[-1]
    return np.broadcast_to(bias.reshape(-1), width).copy() if fits else None


def _gemm_in_steps(node: Node, alpha: float, beta: float, flip_a: bool, flip_b: bool) -> Var:
    """A Gemm that is no `linear`: alpha * A B + beta * C, without the steps that change nothing."""
    y = mb.matmul(
        x=node.data(0), y=node.data(1), transpose_x=flip_a, transpose_y=flip_b,
        name=f"{node.result}_product" if alpha != 1 or node.has(2) else node.result,
    )  # fmt: skip
    number = types.nptype_from_builtin(y.dtype)
    if alpha != 1:
        name = f"{node.result}_scaled" if node.has(2) else node.result
        y = mb.mul(x=y, y=number(alpha), name=name)
    if not node.has(2):
        return y
    bias = node.data(2)
    if beta != 1:
        bias = mb.mul(x=bias, y=number(beta), name=f"{node.result}_bias")
    return mb.add(x=y, y=bias, name=node.result)


def _operator(emit: Emit, attributes: str = "") -> Operator:
    return Operator(emit, frozenset(attributes.split()))


_WINDOW = "auto_pad kernel_shape strides pads dilations"

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Add": _operator(_binary(mb.add)),
        "AveragePool": _operator(
            mil_windows.average_pool, f"{_WINDOW} ceil_mode count_include_pad"
        ),
        # `momentum` only matters in training.
        "BatchNormalization": _operator(_batch_norm, "epsilon momentum training_mode"),
        "Cast": _operator(_cast, "to"),
        "Clip": _operator(_clip),
        "Concat": _operator(mil_shapes.concat, "axis"),
        "Conv": _operator(mil_windows.conv, f"{_WINDOW} group"),
        "Div": _operator(_binary(mb.real_div)),
        "Flatten": _operator(mil_shapes.flatten, "axis"),
        "Gemm": _operator(_gemm, "alpha beta transA transB"),
        "GlobalAveragePool": _operator(mil_windows.global_average_pool),
        "Identity": _operator(lambda node: node.data(0)),
        "MatMul": _operator(_matmul),
        "MaxPool": _operator(mil_windows.max_pool, f"{_WINDOW} ceil_mode storage_order"),
        "Mul": _operator(_binary(mb.mul)),
        "ReduceMean": _operator(_reduce_mean, "axes keepdims noop_with_empty_axes"),
        "Relu": _operator(_unary(mb.relu)),
        "Reshape": _operator(mil_shapes.reshape, "allowzero"),
        "Sigmoid": _operator(_unary(mb.sigmoid)),
        "Softmax": _operator(_softmax, "axis"),
        "Squeeze": _operator(mil_shapes.squeeze, "axes"),
        "Sub": _operator(_binary(mb.sub)),
        "Transpose": _operator(mil_shapes.transpose, "perm"),
        "Unsqueeze": _operator(mil_shapes.unsqueeze, "axes"),
    }
)

"""Elementwise arithmetic and casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from onnx import TensorProto, helper

from edgerep.export.coreml.node import Array, OnnxNode, Var, is_whole
from edgerep.export.coreml.quiet_coremltools import mb, types
from edgerep.export.coreml.signs import is_never_negative

Emit: TypeAlias = Callable[[OnnxNode], Var]
# MIL computes with whole numbers of 32 bits; 64 are for places in tensors, which fit.
_CASTS = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int32",
}


def unary(builder: Any) -> Emit:
    return lambda node: builder(x=node.data(0), name=node.result)


def binary(builder: Any) -> Emit:
    return lambda node: builder(x=node.data(0), y=node.data(1), name=node.result)


def variadic(builder: Any) -> Emit:
    """What emits an operator of any number of inputs, two by two."""

    def emit(node: OnnxNode) -> Var:
        result = node.data(0)
        for index in range(1, len(node.inputs)):
            last = index == len(node.inputs) - 1
            name = node.result if last else f"{node.result}_of{index + 1}"
            result = builder(x=result, y=node.data(index), name=name)
        return result

    return emit


def divide(node: OnnxNode) -> Var:
    x, y = node.data(0), node.data(1)
    if not is_whole(x):
        return mb.real_div(x=x, y=y, name=node.result)
    if is_never_negative(x) and is_never_negative(y):  # towards zero is down
        return mb.floor_div(x=x, y=y, name=node.result)
    node.refuse("it divides whole numbers and rounds towards zero, which MIL does not promise")


def modulo(node: OnnxNode) -> Var:
    x, y = node.data(0), node.data(1)
    if not is_whole(x):
        node.refuse("it takes the remainder of numbers that are not whole, which rounds")
    if node.get("fmod", 0) and not (is_never_negative(x) and is_never_negative(y)):
        node.refuse("`fmod` is 1: its remainder has the sign of the dividend; Core ML only the "
                    "divisor's")  # fmt: skip
    return mb.mod(x=x, y=y, name=node.result)


def log(node: OnnxNode) -> Var:
    x = node.data(0)
    # By default MIL adds 1e-45 first, and the logarithm of 0 becomes a number.
    epsilon = types.nptype_from_builtin(x.dtype)(0)
    return mb.log(x=x, epsilon=epsilon, name=node.result)


def negate(node: OnnxNode) -> Var:
    x = node.data(0)
    return mb.mul(x=x, y=types.nptype_from_builtin(x.dtype)(-1), name=node.result)


def reciprocal(node: OnnxNode) -> Var:
    # MIL's `inverse` adds an epsilon to its input.
    y = node.data(0)
    return mb.real_div(x=types.nptype_from_builtin(y.dtype)(1), y=y, name=node.result)


def power(node: OnnxNode) -> Var:
    if not node.is_constant(1):
        return mb.pow(x=node.data(0), y=node.data(1), name=node.result)
    exponent = node.known(1)  # of any type in ONNX, of the base's in MIL
    base = node.data(0)
    typed = exponent.astype(types.nptype_from_builtin(base.dtype))
    if not np.array_equal(typed, exponent):
        node.refuse(f"its exponent {exponent} is not a number of {typed.dtype}")
    return mb.pow(x=base, y=typed[()] if typed.ndim == 0 else typed, name=node.result)


def cast(node: OnnxNode) -> Var:
    x, to = node.data(0), node.get("to", None)
    if to == TensorProto.BOOL:
        if is_truth(x):
            return x
        zero = types.nptype_from_builtin(x.dtype)(0)
        return mb.not_equal(x=x, y=zero, name=node.result)
    if to not in _CASTS:
        name = TensorProto.DataType.Name(to)
        node.refuse(f"it casts to {name}; Core ML has FLOAT, FLOAT16, INT32, INT64 and BOOL")
    if types.builtin_to_string(x.dtype) == _CASTS[to]:
        return x  # pixels, for one: uint8 in ONNX, float32 in Core ML from the start
    return mb.cast(x=x, dtype=_CASTS[to], name=node.result)


def cast_like(node: OnnxNode) -> Var | Array:
    """Emit a cast to the type of another tensor; a constant is cast at once."""
    like = node.inputs[1]
    computed = not isinstance(like, np.ndarray)
    kind = np.dtype(types.nptype_from_builtin(like.dtype)) if computed else like.dtype
    if node.is_constant(0):
        return node.known(0).astype(kind)
    attributes = {"to": helper.np_dtype_to_tensor_dtype(kind)}
    return cast(OnnxNode("Cast", node.name, node.result, node.inputs[:1], attributes))


def is_truth(operand: Any) -> bool:
    """Whether an operand, computed or constant, is of truth values."""
    if isinstance(operand, (np.ndarray, np.generic)):
        return operand.dtype == np.bool_
    return bool(types.is_bool(operand.dtype))

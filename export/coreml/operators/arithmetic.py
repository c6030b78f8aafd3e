"""Elementwise arithmetic and casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from onnx import TensorProto, helper

from edgerep.export.coreml.node import Array, OnnxNode, Var, is_whole
from edgerep.export.coreml.quiet_coremltools import mb, types

Emit: TypeAlias = Callable[[OnnxNode], Var]
_CASTS = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.INT32: "int32"}


def unary(builder: Any) -> Emit:
    return lambda node: builder(x=node.data(0), name=node.result)


def binary(builder: Any) -> Emit:
    return lambda node: builder(x=node.data(0), y=node.data(1), name=node.result)


def divide(node: OnnxNode) -> Var:
    x, y = node.data(0), node.data(1)
    if is_whole(x):
        node.refuse("it divides whole numbers and rounds towards zero, which MIL does not promise")
    return mb.real_div(x=x, y=y, name=node.result)


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
    if to not in _CASTS:
        name = TensorProto.DataType.Name(to)
        node.refuse(f"it casts to {name}; Core ML has FLOAT, FLOAT16 and INT32")
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

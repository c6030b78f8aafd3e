"""QuantizeLinear and DequantizeLinear: where the graph rounds, with the graph's own scales.

A constant that is dequantised becomes `constexpr_affine_dequantize` where it is a weight, as its
reader asks for it, and stays int8; numbers that the network computes go through MIL's `quantize`
and `dequantize`. int32 constants, which are biases, become the numbers that they stand for.

Sources: the ONNX operator reference (opsets 13 to 21) and the MIL operator reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from edgerep.export.coreml.dequantised import Dequantised
from edgerep.export.coreml.node import Array, OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb, types
from edgerep.export.graph.affine import dequantize_array, quantize_array

_EIGHT_BITS = (np.dtype(np.int8), np.dtype(np.uint8))


def quantize(node: OnnxNode) -> Var | Array:
    if node.is_weight(0):
        numbers = node.known(0)
        return quantize_array(numbers, *_affine(node, numbers.ndim))
    x = node.data(0)
    scale, zero, axis = _affine(node, x.rank)
    kind = np.dtype(types.nptype_from_builtin(x.dtype))
    if scale.dtype != kind:
        node.refuse(f"its scale is {scale.dtype} and its input {kind}")
    return mb.quantize(
        input=x, **_as_operands(scale, zero, axis), output_dtype=zero.dtype.name, name=node.result
    )


def dequantize(node: OnnxNode) -> Var | Array | Dequantised:
    if not node.is_constant(0):
        x = node.data(0)
        return mb.dequantize(
            input=x, **_as_operands(*_affine(node, x.rank, x.dtype)), name=node.result
        )
    levels = node.known(0)
    if levels.dtype == np.int32:
        if node.has(2) and np.any(node.known(2)):
            node.refuse("it dequantises int32 with a zero point, which ONNX does not have")
        return dequantize_array(levels, node.known(1), axis=node.get("axis", 1))
    if levels.dtype not in _EIGHT_BITS:
        node.refuse(f"it dequantises a constant of {levels.dtype}; Core ML has int8 and uint8")
    scale, zero, axis = _affine(node, levels.ndim, levels.dtype)
    if not levels.ndim:  # `constexpr_affine_dequantize` wants a dimension
        return dequantize_array(levels, scale, zero)
    return Dequantised(node.result, levels, scale, zero, axis, node.new_name)


def _affine(node: OnnxNode, rank: int, element: Any = None) -> tuple[Array, Array, int]:
    """Scale and zero point, either both of no dimension or both [n], and the axis of these."""
    node.require("block_size", 0)
    node.require("saturate", 1)
    scale = node.known(1)
    zero = node.known(2) if node.has(2) else np.zeros(scale.shape, _type_of(node, element))
    if zero.dtype not in _EIGHT_BITS:
        node.refuse(f"it is of {zero.dtype}; Core ML quantises to int8 and uint8")
    if scale.dtype not in (np.float32, np.float16):
        node.refuse(f"its scale is {scale.dtype}; Core ML has float32 and float16")
    if not (np.isfinite(scale) & (scale > 0)).all():
        node.refuse("a scale of it is not above 0, or not finite")
    if scale.size == zero.size == 1:  # also of shape [1], which ONNX takes for one for all
        return scale.reshape(()), zero.reshape(()), 0
    if zero.shape != scale.shape or scale.ndim > 1:
        node.refuse(
            f"its scale is of shape {list(scale.shape)} and its zero point of {list(zero.shape)}; "
            f"Core ML has one for all, or one along an axis"
        )
    axis = node.get("axis", 1)
    return scale, zero, axis + rank if axis < 0 else axis


def _type_of(node: OnnxNode, element: Any) -> Any:
    """The type that a zero point would have which is not written."""
    asked = node.get("output_dtype", 0)
    if asked:
        kinds = {TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}
        if asked not in kinds:
            node.refuse(f"it quantises to {TensorProto.DataType.Name(asked)}; Core ML has INT8 and "
                        f"UINT8")  # fmt: skip
        return kinds[asked]
    if element is None:
        return np.uint8  # as ONNX has it
    return element if isinstance(element, np.dtype) else types.nptype_from_builtin(element)


def _as_operands(scale: Array, zero: Array, axis: int) -> dict[str, Any]:
    if scale.ndim == 0:
        return {"scale": scale[()], "zero_point": zero[()]}
    return {"scale": scale, "zero_point": zero, "axis": np.int32(axis)}

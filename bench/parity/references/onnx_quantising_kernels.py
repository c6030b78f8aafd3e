"""QuantizeLinear and DequantizeLinear in whatever type of real numbers they are given.

onnx's evaluator has them for newer opsets only, and in float32. The evaluator finds the classes by
their names.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from onnx import helper
from onnx.reference.op_run import OpRun

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.affine import dequantize_array, quantize_array, spread

_finfo: Any = ml_dtypes.finfo


class QuantizeLinear(OpRun):
    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero: Array | None = None,
        axis: int | None = None,
        block_size: int | None = None,
        output_dtype: int | None = None,
        precision: int | None = None,
        saturate: int | None = None,
    ) -> tuple[Array]:
        _refuse_blocks(block_size)
        if zero is None:
            kind = helper.tensor_dtype_to_np_dtype(output_dtype) if output_dtype else np.uint8
            zero = np.zeros(scale.shape, kind)
        at = 1 if axis is None else axis
        if zero.dtype.kind in "iu":
            return (quantize_array(x, scale, zero, at),)
        largest = float(_finfo(zero.dtype).max)  # a type of 8 bits has no room for more
        steps = np.clip(x / spread(scale, x.ndim, at), -largest, largest)
        return (steps.astype(zero.dtype),)


class DequantizeLinear(OpRun):
    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero: Array | None = None,
        axis: int | None = None,
        block_size: int | None = None,
        output_dtype: int | None = None,
    ) -> tuple[Array]:
        _refuse_blocks(block_size)
        at = 1 if axis is None else axis
        if x.dtype.kind in "iu":
            return (dequantize_array(x, scale, zero, at),)
        return (x.astype(scale.dtype) * spread(scale, x.ndim, at),)


def _refuse_blocks(block_size: int | None) -> None:
    if block_size:
        raise NotImplementedError("scales in blocks")


QUANTISING_KERNELS: tuple[type[OpRun], ...] = (QuantizeLinear, DequantizeLinear)

"""The operators that the ONNX reference evaluator computes slowly, computed by PyTorch instead.

Each class is the evaluator's own operator with a shorter way for the common case: torch's kernel
of the same definition, in the type of its input. Rarer attributes go the evaluator's own way. The
evaluator finds the classes by their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_average_pool, op_conv, op_max_pool
from torch import Tensor
from torch.nn import functional

from edgerep.artefacts.tensors import Array

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


class Conv(op_conv.Conv):
    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **attributes: Any) -> tuple[Array]:  # type: ignore[override]
        dims = x.ndim - 2
        if dims not in _CONVOLUTIONS or not _is_padded_by_numbers(attributes):
            result: tuple[Array] = super()._run(x, w, b, **attributes)  # type: ignore[no-untyped-call]
            return result
        out = _CONVOLUTIONS[dims](
            _padded(x, attributes["pads"], 0.0),
            _tensor(w),
            None if b is None else _tensor(b),
            stride=_each(attributes["strides"], dims),
            dilation=_each(attributes["dilations"], dims),
            groups=attributes["group"],
        )
        return (out.numpy(),)


class MaxPool(op_max_pool.MaxPool):
    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array, ...]:  # type: ignore[override]
        dims = x.ndim - 2
        plain = _is_padded_by_numbers(attributes) and not attributes["ceil_mode"]
        if dims not in _MAXIMA or not plain or len(self.output) > 1 or x.dtype.kind != "f":
            result: tuple[Array, ...] = super()._run(x, **attributes)  # type: ignore[no-untyped-call]
            return result
        out = _MAXIMA[dims](
            _padded(x, attributes["pads"], float("-inf")),
            tuple(attributes["kernel_shape"]),
            stride=_each(attributes["strides"], dims),
            dilation=_each(attributes["dilations"], dims),
        )
        return (out.numpy(),)


class AveragePool(op_average_pool.AveragePool_19):
    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:  # type: ignore[override]
        dims = x.ndim - 2
        dilated = max(_each(attributes.get("dilations"), dims)) > 1
        plain = _is_padded_by_numbers(attributes) and not attributes["ceil_mode"]
        if dims not in _AVERAGES or not plain or dilated:
            result: tuple[Array] = super()._run(x, **attributes)  # type: ignore[no-untyped-call]
            return result
        window = tuple(attributes["kernel_shape"])
        stride = _each(attributes["strides"], dims)
        out = _AVERAGES[dims](_padded(x, attributes["pads"], 0.0), window, stride=stride)
        if attributes["pads"] and not attributes["count_include_pad"]:
            inside = _padded(np.ones((1, 1, *x.shape[2:]), x.dtype), attributes["pads"], 0.0)
            out = out / _AVERAGES[dims](inside, window, stride=stride)
        return (out.numpy(),)


KERNELS: tuple[type[OpRun], ...] = (Conv, MaxPool, AveragePool)


def _is_padded_by_numbers(attributes: dict[str, Any]) -> bool:
    return attributes["auto_pad"] in (None, "NOTSET")


def _each(values: Sequence[int] | None, dims: int) -> tuple[int, ...]:
    return tuple(values) if values else (1,) * dims


def _padded(x: Array, pads: Sequence[int] | None, value: float) -> Tensor:
    """`x` with ONNX's pads around it, of `value`.

    ONNX lists all beginnings, then all ends; torch a pair for each dimension, the last one first.
    """
    tensor = _tensor(x)
    if not pads or not any(pads):
        return tensor
    dims = len(pads) // 2
    pairs = [int(pads[at + part]) for at in reversed(range(dims)) for part in (0, dims)]
    return functional.pad(tensor, pairs, value=value)


def _tensor(array: Array) -> Tensor:
    # torch warns of arrays that may not be written, as weights from a file are.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))

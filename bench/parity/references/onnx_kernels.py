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
            padded(x, attributes["pads"], 0.0),
            tensor_of(w),
            None if b is None else tensor_of(b),
            stride=_each(attributes["strides"], dims),
            dilation=_each(attributes["dilations"], dims),
            groups=attributes["group"],
        )
        return (out.numpy(),)


class MaxPool(op_max_pool.MaxPool):
    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array, ...]:  # type: ignore[override]
        dims = x.ndim - 2
        if dims not in _MAXIMA or len(self.output) > 1 or x.dtype.kind != "f":
            result: tuple[Array, ...] = super()._run(x, **attributes)  # type: ignore[no-untyped-call]
            return result
        pads, hanging = _pool_pads(x, attributes)
        out = _MAXIMA[dims](
            padded(x, [p + more for p, more in zip(pads, hanging, strict=True)], float("-inf")),
            tuple(attributes["kernel_shape"]),
            stride=_each(attributes["strides"], dims),
            dilation=_each(attributes["dilations"], dims),
        )
        return (out.numpy(),)


class AveragePool(op_average_pool.AveragePool_19):
    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:  # type: ignore[override]
        dims = x.ndim - 2
        if dims not in _AVERAGES or max(_each(attributes.get("dilations"), dims)) > 1:
            result: tuple[Array] = super()._run(x, **attributes)  # type: ignore[no-untyped-call]
            return result
        window = tuple(attributes["kernel_shape"])
        stride = _each(attributes["strides"], dims)
        pads, hanging = _pool_pads(x, attributes)
        around = [p + more for p, more in zip(pads, hanging, strict=True)]
        out = _AVERAGES[dims](padded(x, around, 0.0), window, stride=stride)
        if any(around):  # what a last window covers beyond image and pads counts in no average
            counted = np.ones((1, 1, *x.shape[2:]), x.dtype)
            if attributes["count_include_pad"]:
                counted = padded(counted, pads, 1.0).numpy()
                around = hanging
            out = out / _AVERAGES[dims](padded(counted, around, 0.0), window, stride=stride)
        return (out.numpy(),)


KERNELS: tuple[type[OpRun], ...] = (Conv, MaxPool, AveragePool)


def _is_padded_by_numbers(attributes: dict[str, Any]) -> bool:
    return attributes["auto_pad"] in (None, "NOTSET")


def _pool_pads(x: Array, attributes: dict[str, Any]) -> tuple[list[int], list[int]]:
    """A pool's pads, all beginnings and then all ends; and how far a last window hangs over.

    A window that would begin behind the image and its pads at the beginning is none, as in torch.
    """
    dims = x.ndim - 2
    strides = _each(attributes["strides"], dims)
    dilations = _each(attributes.get("dilations"), dims)
    reach = [(k - 1) * d + 1 for k, d in zip(attributes["kernel_shape"], dilations, strict=True)]
    if attributes["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-size // stride) - 1) * stride + k - size, 0)
            for size, stride, k in zip(x.shape[2:], strides, reach, strict=True)
        ]
        less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
        ends = (less, more) if attributes["auto_pad"] == "SAME_UPPER" else (more, less)
        return [*ends[0], *ends[1]], [0] * (2 * dims)
    pads = list(attributes["pads"] or [0] * (2 * dims))
    if attributes["auto_pad"] == "VALID":
        pads = [0] * (2 * dims)
    hanging = [0] * (2 * dims)
    for axis, size in enumerate(x.shape[2:] if attributes["ceil_mode"] else ()):
        beyond = -(size + pads[axis] + pads[dims + axis] - reach[axis]) % strides[axis]
        if pads[dims + axis] + beyond < reach[axis]:
            hanging[dims + axis] = beyond
    return pads, hanging


def _each(values: Sequence[int] | None, dims: int) -> tuple[int, ...]:
    return tuple(values) if values else (1,) * dims


def padded(x: Array, pads: Sequence[int] | None, value: float) -> Tensor:
    """`x` with ONNX's pads around it, of `value`.

    ONNX lists all beginnings, then all ends; torch a pair for each dimension, the last one first.
    """
    tensor = tensor_of(x)
    if not pads or not any(pads):
        return tensor
    dims = len(pads) // 2
    pairs = [int(pads[at + part]) for at in reversed(range(dims)) for part in (0, dims)]
    return functional.pad(tensor, pairs, value=value)


def tensor_of(array: Array) -> Tensor:
    # torch warns of arrays that may not be written, as weights from a file are.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))

"""Operators that onnx's evaluator computes wrongly, or in float32 whatever it is given.

Measured, operator by operator and opset by opset, against torch in float64 and ONNX Runtime:
LRN and the groups of ConvTranspose are wrong, negative pads fail, and Erf, Gelu, HardSwish,
GroupNormalization and cubic Resize are rounded to float32. The evaluator finds the classes by
their names; each takes its definition from the ONNX operator reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_conv_transpose, op_grid_sample, op_pad
from torch import Tensor
from torch.nn import functional

from edgerep.artefacts.tensors import Array

_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class Erf(OpRun):
    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (torch.erf(_tensor(x)).numpy(),)


class HardSwish(OpRun):
    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x * np.clip(x / 6 + 0.5, 0, 1),)


class Gelu(OpRun):
    op_domain = ""

    def _run(self, x: Array, approximate: str | None = None) -> tuple[Array]:
        return (functional.gelu(_tensor(x), approximate=approximate or "none").numpy(),)


class LRN(OpRun):
    op_domain = ""

    def _run(
        self,
        x: Array,
        alpha: float | None = None,
        beta: float | None = None,
        bias: float | None = None,
        size: int | None = None,
    ) -> tuple[Array]:
        count = size or 1
        before, after = (count - 1) // 2, count // 2
        widths = [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)]
        squares = np.pad(x * x, widths)
        around = sum(squares[:, index : index + x.shape[1]] for index in range(count))
        scale = 1e-4 if alpha is None else alpha
        power = 0.75 if beta is None else beta
        return (x / ((1.0 if bias is None else bias) + scale / count * around) ** power,)


class GroupNormalization(OpRun):
    """As opset 21 has it, scale and bias by channel; before it, by group."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        bias: Array,
        epsilon: float | None = None,
        num_groups: int | None = None,
        stash_type: int | None = None,
    ) -> tuple[Array]:
        groups, eps = num_groups or 1, 1e-5 if epsilon is None else epsilon
        each = x.shape[1] // scale.size
        weight, shift = (_tensor(np.repeat(part, each)) for part in (scale, bias))
        return (functional.group_norm(_tensor(x), groups, weight, shift, eps).numpy(),)


class ConvTranspose(op_conv_transpose.ConvTranspose):
    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **given: Any) -> tuple[Array]:  # type: ignore[override]
        dims = x.ndim - 2
        sized = given.get("output_shape") or given.get("auto_pad") not in (None, "NOTSET", "VALID")
        if dims not in _TRANSPOSED or sized:
            result: tuple[Array] = super()._run(x, w, b, **given)  # type: ignore[no-untyped-call]
            return result
        pads = list(given.get("pads") or [0] * 2 * dims)
        added = list(given.get("output_padding") or [0] * dims)
        full = _TRANSPOSED[dims](
            _tensor(x),
            _tensor(w),
            None,
            tuple(given.get("strides") or [1] * dims),
            groups=given.get("group") or 1,
            dilation=tuple(given.get("dilations") or [1] * dims),
        )
        # What torch calls padding is the same on both sides: it is cut off here instead.
        edges = [(-pads[i], added[i] - pads[dims + i]) for i in range(dims)]
        out = functional.pad(full, [side for pair in reversed(edges) for side in pair])
        return ((out if b is None else out + _tensor(b).reshape(-1, *[1] * dims)).numpy(),)


class Pad(op_pad.Pad_18):
    op_domain = ""

    def _run(
        self,
        data: Array,
        pads: Array,
        constant_value: Array | None = None,
        axes: Array | None = None,
        mode: str | None = None,
    ) -> tuple[Array]:
        chosen = range(data.ndim) if axes is None else [int(axis) % data.ndim for axis in axes]
        cut = [slice(None)] * data.ndim
        for at, axis in enumerate(chosen):
            first, last = int(pads[at]), int(pads[len(chosen) + at])
            end = data.shape[axis] + min(last, 0)
            cut[axis] = slice(max(-first, 0), end)
        value = constant_value
        if value is not None and np.ndim(value) > 0:
            value = np.asarray(value).reshape(-1)[0]
        result: tuple[Array] = super()._run(  # type: ignore[no-untyped-call]
            data[tuple(cut)], np.maximum(pads, 0), value, axes=axes, mode=mode
        )
        return result


def _tensor(array: Array) -> Tensor:
    # torch warns of arrays that may not be written, as weights from a file are.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


class GridSample(op_grid_sample.GridSample):
    """Of four dimensions by torch; `mode` as opset 16 spells it, and as opset 20 does."""

    op_domain = ""

    def _run(
        self, x: Array, grid: Array, mode: str | None = None, padding_mode: str | None = None,
        align_corners: int | None = None,
    ) -> tuple[Array]:  # fmt: skip
        asked = mode or "linear"
        spelled = {"linear": "bilinear", "cubic": "bicubic"}.get(asked, asked)
        if x.ndim != 4:
            plain = {"bilinear": "linear", "bicubic": "cubic"}.get(asked, asked)
            result: tuple[Array] = super()._run(x, grid, plain, padding_mode, align_corners)  # type: ignore[no-untyped-call]
            return result
        found = functional.grid_sample(
            _tensor(x), _tensor(grid.astype(x.dtype)), mode=spelled,
            padding_mode=padding_mode or "zeros", align_corners=bool(align_corners),
        )  # fmt: skip
        return (found.numpy(),)


EXACT_KERNELS: tuple[type[OpRun], ...] = (
    Erf, HardSwish, Gelu, LRN, GroupNormalization, ConvTranspose, Pad, GridSample,
)  # fmt: skip

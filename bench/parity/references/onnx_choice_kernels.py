"""The operators of ONNX that decide, computed by PyTorch, so that `Deciding` sees what they decide.

The evaluator finds the classes by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import helper
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_argmax, op_argmin, op_cast, op_topk
from torch import Tensor

from edgerep.artefacts.tensors import Array

_WHOLE = {
    np.dtype(name): getattr(torch, name)
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64")
}


class TopK(op_topk.TopK_11):
    op_domain = ""

    def _run(
        self,
        data: Array,
        ink: Array,
        axis: int | None = None,
        largest: int | None = None,
        sorted: int | None = None,
    ) -> tuple[Array, Array]:
        best, indices = torch.topk(
            torch.from_numpy(data.copy()),
            int(ink[0]),
            -1 if axis is None else axis,
            largest=largest != 0,
            sorted=sorted != 0,
        )
        return best.numpy(), indices.numpy()


class ArgMax(op_argmax.ArgMax_12):
    op_domain = ""

    def _run(self, data: Array, **attributes: Any) -> tuple[Array]:  # type: ignore[override]
        if attributes.get("select_last_index"):
            result: tuple[Array] = super()._run(data, **attributes)  # type: ignore[no-untyped-call]
            return result
        return (_extreme(torch.argmax, data, **attributes),)


class ArgMin(op_argmin.ArgMin_12):
    op_domain = ""

    def _run(self, data: Array, **attributes: Any) -> tuple[Array]:  # type: ignore[override]
        if attributes.get("select_last_index"):
            result: tuple[Array] = super()._run(data, **attributes)  # type: ignore[no-untyped-call]
            return result
        return (_extreme(torch.argmin, data, **attributes),)


class Cast(op_cast.Cast_25):
    op_domain = ""

    def _run(self, x: Array, to: int, **how: Any) -> tuple[Array]:  # type: ignore[override]
        whole = _WHOLE.get(helper.tensor_dtype_to_np_dtype(to))
        if x.dtype.kind == "f" and whole is not None:
            return (_tensor(x).to(whole).numpy(),)
        result: tuple[Array] = super()._run(x, to, **how)  # type: ignore[no-untyped-call]
        return result


def _compares(
    name: str, function: Callable[[Tensor, Tensor], Tensor], plain: np.ufunc
) -> type[OpRun]:
    def _run(self: OpRun, a: Array, b: Array) -> tuple[Array]:
        real = a.dtype.kind == b.dtype.kind == "f"
        return (function(_tensor(a), _tensor(b)).numpy() if real else plain(a, b),)

    return type(name, (OpRun,), {"op_domain": "", "_run": _run})


def _steps(name: str, function: Callable[[Tensor], Tensor]) -> type[OpRun]:
    def _run(self: OpRun, x: Array) -> tuple[Array]:
        return (function(_tensor(x)).numpy(),)

    return type(name, (OpRun,), {"op_domain": "", "_run": _run})


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array))


CHOICE_KERNELS: tuple[type[OpRun], ...] = (
    TopK, ArgMax, ArgMin, Cast,
    _compares("Greater", torch.gt, np.greater), _compares("Less", torch.lt, np.less),
    _compares("GreaterOrEqual", torch.ge, np.greater_equal),
    _compares("LessOrEqual", torch.le, np.less_equal), _compares("Equal", torch.eq, np.equal),
    _steps("Round", torch.round), _steps("Floor", torch.floor), _steps("Ceil", torch.ceil),
    _steps("Sign", torch.sign),
)  # fmt: skip


def _extreme(
    function: Any,
    data: Array,
    axis: int | None = None,
    keepdims: int | None = None,
    select_last_index: int | None = None,
) -> Array:
    found = function(torch.from_numpy(data.copy()), axis or 0, keepdim=keepdims != 0)
    result: Array = found.numpy()
    return result

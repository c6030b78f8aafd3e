"""The operators of ONNX that choose, computed by PyTorch, so that `Choosing` sees what they choose.

The evaluator finds the classes by their names.
"""

from __future__ import annotations

from typing import Any

import torch
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_argmax, op_argmin, op_topk

from edgerep.artefacts.tensors import Array


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


CHOICE_KERNELS: tuple[type[OpRun], ...] = (TopK, ArgMax, ArgMin)


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

"""Products summed in float16: what the poorest hardware that computes in float16 gives.

Convolutions and matrix products are summed in groups of `GROUP` products, as a matrix unit takes
them, and the sum so far is rounded to float16 after each group. Of hardware that sums in float32,
which is most of it, this says nothing: it is the other end of what is to be expected. Convolutions
of fewer products per number, as depthwise ones, come out as with float32 sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import Tensor
from torch.nn import functional

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references import onnx_kernels
from edgerep.bench.parity.references.onnx_choice_kernels import CHOICE_KERNELS
from edgerep.bench.parity.references.onnx_evaluator import as_evaluated
from edgerep.bench.parity.references.onnx_exact_kernels import EXACT_KERNELS
from edgerep.bench.parity.references.onnx_kernels import padded, tensor_of
from edgerep.bench.parity.references.onnx_resizing import Resize
from edgerep.errors import OnnxError
from edgerep.export.graph.onnx_file import read_model
from edgerep.export.precision.emulation import emulated, is_rounded

GROUP = 16  # products that NVIDIA's m16n8k16 instruction sums at once


_BYTES_AT_ONCE = 1 << 28  # of the columns of a convolution


class AccumulatingFile:
    """An ONNX file of float16, every result rounded, its layers summed in float16.

    Attributes:
        how: What computes it, in one sentence.
        products: How many products were summed so far.

    Raises:
        OnnxError: The file cannot be read, emulated, or moved to the evaluator's opset.
    """

    how = (
        f"float16 emulated, float16 accumulators: onnx's reference evaluator {onnx.__version__}, "
        f"every result rounded, layers summed {GROUP} products at a time"
    )

    def __init__(self, path: Path) -> None:
        graph = emulated(as_evaluated(read_model(path)))
        if graph is None:
            raise OnnxError(f"{path} has no float16 in it")
        self.products = 0
        self._path = path
        self._outputs = [value.name for value in graph.model.graph.output[: graph.outputs]]
        given = {tensor.name for tensor in graph.model.graph.initializer}
        self._inputs = [v.name for v in graph.model.graph.input if v.name not in given]
        counting = {"op_domain": "", "count": self._count}
        layers: tuple[type[OpRun], ...] = (Conv, Gemm, MatMul)
        own: dict[str, type[OpRun]] = {
            kernel.__name__: type(kernel.__name__, (kernel,), counting) for kernel in layers
        }
        rest: tuple[type[OpRun], ...] = (
            *onnx_kernels.KERNELS,
            *CHOICE_KERNELS,
            *EXACT_KERNELS,
            Resize,
        )
        kernels = [*own.values(), *(one for one in rest if one.__name__ not in own)]
        with self._blamed():
            self._evaluator = ReferenceEvaluator(graph.model, new_ops=kernels)

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Outputs in the order of the file.

        Raises:
            OnnxError: The evaluator does not know an operator.
        """
        wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in inputs]
        feed = dict(zip(self._inputs, wide, strict=True))
        with self._blamed(), torch.inference_mode(), np.errstate(all="ignore"):
            return tuple(self._evaluator.run(self._outputs, feed))

    def _count(self, products: int) -> None:
        self.products += products

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:  # the evaluator raises whatever its operators raise
            raise OnnxError(f"{self._path}: onnx's reference evaluator says: {error}") from error


class _Summing(OpRun):
    """What the kernels of layers have in common.

    Attributes:
        count: Told how many products were summed.
    """

    count: ClassVar[Callable[[int], None]]


class Conv(onnx_kernels.Conv):
    op_domain = ""
    count: ClassVar[Callable[[int], None]]

    def _run(self, x: Array, w: Array, b: Array | None = None, **attributes: Any) -> tuple[Array]:  # type: ignore[override]
        each = int(np.prod(w.shape[1:]))
        numbers = attributes["auto_pad"] in (None, "NOTSET")
        if x.ndim != 4 or each <= GROUP or not numbers or not is_rounded(self.onnx_node):
            return super()._run(x, w, b, **attributes)
        image = padded(x, attributes["pads"], 0.0)
        dilation = tuple(attributes["dilations"] or (1, 1))
        stride = tuple(attributes["strides"] or (1, 1))
        groups = attributes["group"] or 1
        reach = [dilation[at] * (w.shape[2 + at] - 1) + 1 for at in range(2)]
        height, width = ((image.shape[2 + at] - reach[at]) // stride[at] + 1 for at in range(2))
        weight = tensor_of(w).reshape(groups, len(w) // groups, each)
        strip = max(1, _BYTES_AT_ONCE // (4 * len(x) * groups * each * width))
        parts = []
        for first in range(0, height, strip):
            rows = min(strip, height - first)
            start = first * stride[0]
            part = image[:, :, start : start + (rows - 1) * stride[0] + reach[0]]
            columns = functional.unfold(part, w.shape[2:], dilation, stride=stride)
            columns = columns.reshape(len(x), groups, each, rows * width)
            parts.append(_summed(weight, columns).reshape(len(x), len(w), rows, width))
        out = torch.cat(parts, 2)
        type(self).count(out.numel() * each)
        return ((out if b is None else _half(out + tensor_of(b)[:, None, None])).numpy(),)


class Gemm(_Summing):
    op_domain = ""

    def _run(
        self,
        a: Array,
        b: Array,
        c: Array | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        transA: int | None = None,  # noqa: N803 - as ONNX calls it
        transB: int | None = None,  # noqa: N803
    ) -> tuple[Array]:
        left, right = tensor_of(a.T if transA else a), tensor_of(b.T if transB else b)
        product = _product(left, right, is_rounded(self.onnx_node))
        type(self).count(product.numel() * left.shape[-1])
        product = product * (1.0 if alpha is None else alpha)
        if c is not None:
            product = product + (1.0 if beta is None else beta) * tensor_of(c)
        return (product.numpy(),)


class MatMul(_Summing):
    op_domain = ""

    def _run(self, a: Array, b: Array) -> tuple[Array]:
        narrow = is_rounded(self.onnx_node) and a.ndim > 1 and b.ndim > 1
        product = _product(tensor_of(a), tensor_of(b), narrow)
        type(self).count(product.numel() * a.shape[-1])
        return (product.numpy(),)


def _product(left: Tensor, right: Tensor, narrow: bool) -> Tensor:
    return _summed(left, right) if narrow else left @ right


def _summed(left: Tensor, right: Tensor) -> Tensor:
    """`left` @ `right`, the sum rounded to float16 after every group of products."""
    total: Tensor | None = None
    for start in range(0, left.shape[-1], GROUP):
        part = left[..., start : start + GROUP] @ right[..., start : start + GROUP, :]
        total = _half(part if total is None else total.add_(part))
    return left @ right if total is None else total


def _half(numbers: Tensor) -> Tensor:
    return numbers.half().float()

"""One small graph for each operator that exporters write, with attributes, and what it computes.

A case is written for the opsets `since` to `until`; `oracle` is the same in torch, float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

Array = NDArray[Any]
NEWEST = 23  # the newest opset that any exporter of networks writes
_RNG = np.random.default_rng(0)


@dataclass(frozen=True, eq=False)
class Case:
    """One node.

    Attributes:
        name: Of the test.
        operator: Of ONNX.
        shape: Of the input `x`, standard normal numbers.
        attributes: Of the node.
        constants: Further inputs, in order; None where one is left out.
        since: The first opset of this writing.
        until: The last.
        oracle: What it computes of `x`, in float64; None leaves that to ONNX Runtime.
        outputs: How many outputs it has; the first is compared.
        positive: Of `x` its absolute value is taken, so that logarithms and roots exist.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Sequence[Array | None] = ()
    since: int = 7
    until: int = NEWEST
    oracle: Any = None  # Callable[[Tensor], Tensor]; mypy cannot infer lambdas with defaults
    outputs: int = 1
    positive: bool = False

    def opsets(self) -> list[int]:
        """The opsets at which the operator changed, and both ends."""
        history = {
            schema.since_version
            for schema in onnx.defs.get_all_schemas_with_history()
            if schema.name == self.operator and schema.domain == ""
        }
        if not self.attributes and not self.constants:  # changed in the types they take
            history = set()
        chosen = {self.since, min(self.until, NEWEST), *history}
        return sorted(v for v in chosen if max(7, self.since) <= v <= self.until)

    def input(self) -> Array:
        x = np.random.default_rng(1).standard_normal(self.shape).astype(np.float32)
        return np.abs(x) + np.float32(0.1) if self.positive else x

    def model(self, opset: int) -> onnx.ModelProto:
        names, initializers = ["x"], []
        for index, constant in enumerate(self.constants):
            names.append("" if constant is None else f"c{index}")
            if constant is not None:
                initializers.append(numpy_helper.from_array(constant, f"c{index}"))
        outputs = ["y", *(f"y{index}" for index in range(1, self.outputs))]
        nodes = [helper.make_node(self.operator, names, outputs, name="node", **self.attributes)]
        graph = helper.make_graph(
            nodes,
            self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
            initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8 if opset <= 18 else 10
        inferred = onnx.shape_inference.infer_shapes(model)
        kind = inferred.graph.output[0].type.tensor_type
        kind.elem_type = kind.elem_type or TensorProto.FLOAT  # functions are not inferred through
        return inferred


def numbers(*shape: int, scale: float = 1.0) -> Array:
    return (_RNG.standard_normal(shape) * scale).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def t(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.float64) if array.dtype.kind == "f" else array)


def several(
    name: str, operator: str, shape: tuple[int, ...], *variants: Any, **rest: Any
) -> list[Case]:
    return [
        Case(f"{name} {i}", operator, shape, attributes, oracle=oracle, **rest)
        for i, (attributes, oracle) in enumerate(variants)
    ]


IMAGE = (2, 4, 7, 6)
W = numbers(6, 4, 3, 3)
WG = numbers(6, 2, 3, 3)
WD = numbers(4, 1, 3, 3)
B = numbers(6)
WT = numbers(4, 3, 3, 3)
GRID = np.random.default_rng(3).uniform(-1.2, 1.2, (2, 5, 4, 2)).astype(np.float32)
SCALE, SHIFT, MEAN = numbers(4), numbers(4), numbers(4)
VAR = np.abs(numbers(4)) + np.float32(0.3)


def pool_asymmetric(x: Tensor, value: float) -> Tensor:
    return F.pad(x, (0, 1, 1, 0), value=value)


def _elementwise() -> list[Case]:
    unary: dict[str, tuple[Callable[[Tensor], Tensor], int, bool]] = {
        "Relu": (torch.relu, 7, False),
        "Sigmoid": (torch.sigmoid, 7, False),
        "Tanh": (torch.tanh, 7, False),
        "Exp": (torch.exp, 7, False),
        "Log": (torch.log, 7, True),
        "Sqrt": (torch.sqrt, 7, True),
        "Abs": (torch.abs, 7, False),
        "Neg": (torch.neg, 7, False),
        "Reciprocal": (torch.reciprocal, 7, True),
        "Floor": (torch.floor, 7, False),
        "Ceil": (torch.ceil, 7, False),
        "Round": (torch.round, 11, False),
        "Erf": (torch.erf, 9, False),
        "Sign": (torch.sign, 9, False),
        "Sin": (torch.sin, 7, False),
        "Cos": (torch.cos, 7, False),
        "Softplus": (F.softplus, 7, False),
        "Softsign": (F.softsign, 7, False),
        "HardSwish": (F.hardswish, 14, False),
        "Mish": (F.mish, 18, False),
        "Identity": (lambda x: x, 7, False),
    }
    cases = [
        Case(name, name, IMAGE, since=since, oracle=oracle, positive=positive)
        for name, (oracle, since, positive) in unary.items()
    ]
    other = numbers(1, 4, 1, 1)
    binary: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "Add": torch.add,
        "Sub": torch.sub,
        "Mul": torch.mul,
        "Div": torch.div,
        "Max": torch.maximum,
        "Min": torch.minimum,
    }
    since = {"Max": 8, "Min": 8}
    cases += [
        Case(
            name, name, IMAGE, constants=[other], since=since.get(name, 7),
            oracle=lambda x, f=f: f(x, t(other)),
        )
        for name, f in binary.items()
    ]  # fmt: skip
    slope = np.abs(numbers(4, 1, 1))
    two, three = np.array(2.0, np.float32), np.array(0.5, np.float32)
    low, high = np.array(-0.5, np.float32), np.array(0.7, np.float32)
    cases += [
        Case("Pow", "Pow", IMAGE, constants=[three], positive=True, oracle=lambda x: x**0.5),
        Case("Pow of integers", "Pow", IMAGE, constants=[ints(2)], since=12, oracle=lambda x: x**2),
        Case("PRelu", "PRelu", IMAGE, constants=[slope],
             oracle=lambda x: torch.where(x < 0, x * t(slope), x)),
        Case("Clip by attributes", "Clip", IMAGE, {"min": -0.5, "max": 0.7}, until=10,
             oracle=lambda x: x.clamp(t(low).item(), t(high).item())),
        Case("Clip by default", "Clip", IMAGE, oracle=lambda x: x),
        Case("Clip", "Clip", IMAGE, constants=[low, high], since=11,
             oracle=lambda x: x.clamp(t(low).item(), t(high).item())),
        Case("Clip above", "Clip", IMAGE, constants=[None, high], since=11,
             oracle=lambda x: x.clamp(max=t(high).item())),
        Case("Sum", "Sum", IMAGE, constants=[other, two], since=8,
             oracle=lambda x: x + t(other) + 2),
        Case("Mean", "Mean", IMAGE, constants=[other], since=8,
             oracle=lambda x: (x + t(other)) / 2),
        Case("Dropout", "Dropout", IMAGE, {"ratio": 0.5}, until=11, oracle=lambda x: x),
        Case("Dropout by input", "Dropout", IMAGE, constants=[three], since=12,
             oracle=lambda x: x),
    ]  # fmt: skip
    cases += several("LeakyRelu", "LeakyRelu", IMAGE,
        ({}, lambda x: F.leaky_relu(x, np.float32(0.01).item())),
        ({"alpha": 0.25}, lambda x: F.leaky_relu(x, 0.25)))  # fmt: skip
    cases += several("Elu", "Elu", IMAGE, ({}, F.elu), ({"alpha": 0.5}, lambda x: F.elu(x, 0.5)))
    cases += several("HardSigmoid", "HardSigmoid", IMAGE,
        ({}, lambda x: (np.float32(0.2).item() * x + 0.5).clamp(0, 1)),
        ({"alpha": 1 / 6, "beta": 0.5},
         lambda x: (np.float32(1 / 6).item() * x + 0.5).clamp(0, 1)))  # fmt: skip
    cases += several("ThresholdedRelu", "ThresholdedRelu", IMAGE,
        ({"alpha": 0.5}, lambda x: torch.where(x > 0.5, x, torch.zeros_like(x))),
        since=10)  # fmt: skip
    cases += several("Gelu", "Gelu", IMAGE,
        ({}, F.gelu), ({"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
        since=20)  # fmt: skip
    cases += [
        Case("Selu", "Selu", IMAGE, oracle=None),
        Case("Celu", "Celu", IMAGE, {"alpha": 0.5}, since=12, oracle=lambda x: F.celu(x, 0.5)),
    ]
    return cases


def _layers() -> list[Case]:
    cases = [
        Case("Conv", "Conv", IMAGE, {"pads": [1, 1, 1, 1]}, [W, B],
             oracle=lambda x: F.conv2d(x, t(W), t(B), padding=1)),
        Case("Conv strided", "Conv", IMAGE, {"strides": [2, 1], "pads": [0, 1, 1, 0]}, [W],
             oracle=lambda x: F.conv2d(F.pad(x, (1, 0, 0, 1)), t(W), stride=(2, 1))),
        Case("Conv dilated", "Conv", IMAGE, {"dilations": [2, 1], "pads": [2, 1, 2, 1]}, [W],
             oracle=lambda x: F.conv2d(x, t(W), padding=(2, 1), dilation=(2, 1))),
        Case("Conv grouped", "Conv", IMAGE, {"group": 2}, [WG, B],
             oracle=lambda x: F.conv2d(x, t(WG), t(B), groups=2)),
        Case("Conv depthwise", "Conv", IMAGE, {"group": 4, "auto_pad": "SAME_UPPER",
             "strides": [2, 2]}, [WD],
             oracle=lambda x: F.conv2d(F.pad(x, (0, 1, 1, 1)), t(WD), stride=2, groups=4)),
        Case("Conv same lower", "Conv", IMAGE, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, [W],
             oracle=lambda x: F.conv2d(F.pad(x, (1, 0, 1, 1)), t(W), stride=2)),
        Case("Conv valid", "Conv", IMAGE, {"auto_pad": "VALID"}, [W],
             oracle=lambda x: F.conv2d(x, t(W))),
        Case("Conv of signals", "Conv", (2, 4, 9), {"pads": [1, 1]}, [W[..., 0].copy()],
             oracle=lambda x: F.conv1d(x, t(W[..., 0]), padding=1)),
        Case("ConvTranspose", "ConvTranspose", IMAGE, {"strides": [2, 2], "pads": [1, 1, 1, 1],
             "output_padding": [1, 0]}, [WT, numbers(3) * 0 + 1], since=11,
             oracle=lambda x: F.conv_transpose2d(
                 x, t(WT), torch.ones(3).double(), 2, 1, (1, 0))),
        Case("ConvTranspose grouped", "ConvTranspose", IMAGE, {"group": 2, "strides": [2, 3],
             "dilations": [2, 1]}, [WT], since=11,
             oracle=lambda x: F.conv_transpose2d(
                 x, t(WT), None, (2, 3), groups=2, dilation=(2, 1))),
        Case("Gemm", "Gemm", (3, 4), {}, [numbers(4, 5), numbers(5)], oracle=None),
        Case("Gemm turned", "Gemm", (4, 3), {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0},
             [numbers(5, 4), numbers(3, 5)], oracle=None),
        Case("MatMul", "MatMul", (2, 3, 4), {}, [numbers(4, 5)], oracle=None),
        Case("LRN", "LRN", IMAGE, {"size": 3, "alpha": 0.01, "beta": 0.5, "bias": 2.0},
             oracle=lambda x: F.local_response_norm(
                 x, 3, np.float32(0.01).item(), 0.5, 2.0)),
        Case("InstanceNormalization", "InstanceNormalization", IMAGE, {"epsilon": 1e-2},
             [SCALE, SHIFT],
             oracle=lambda x: F.instance_norm(
                 x, weight=t(SCALE), bias=t(SHIFT), eps=np.float32(1e-2).item())),
        Case("LayerNormalization", "LayerNormalization", IMAGE, {"axis": -1, "epsilon": 1e-2},
             [numbers(6, scale=0.5), B], since=17, oracle=None),
        Case("LpNormalization", "LpNormalization", IMAGE, {"axis": 1, "p": 2},
             oracle=lambda x: F.normalize(x, dim=1)),
        Case("GroupNormalization", "GroupNormalization", IMAGE, {"num_groups": 2}, [SCALE, SHIFT],
             since=21, oracle=lambda x: F.group_norm(
                 x, 2, t(SCALE), t(SHIFT), np.float32(1e-5).item())),
    ]  # fmt: skip
    for eps in (None, 1e-3):
        attributes = {} if eps is None else {"epsilon": eps}
        cases.append(
            Case(
                f"BatchNormalization {eps}", "BatchNormalization", IMAGE, attributes,
                [SCALE, SHIFT, MEAN, VAR],
                oracle=lambda x, eps=eps: F.batch_norm(
                    x, t(MEAN), t(VAR), t(SCALE), t(SHIFT), eps=np.float32(eps or 1e-5).item()
                ),
            )
        )  # fmt: skip
    cases += several(
        "MaxPool", "MaxPool", IMAGE,
        ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
         lambda x: F.max_pool2d(x, 3, 2, 1)),
        ({"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]},
         lambda x: F.max_pool2d(pool_asymmetric(x, float("-inf")), 2, 1)),
        ({"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
         lambda x: F.max_pool2d(F.pad(x, (0, 0, 1, 1), value=float("-inf")), (3, 2), 2)),
        ({"kernel_shape": [2, 3], "auto_pad": "SAME_LOWER", "strides": [1, 1]},
         lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 0), value=float("-inf")), (2, 3), 1)),
        ({"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, None),
    )  # fmt: skip
    cases += several(
        "MaxPool rounded up", "MaxPool", IMAGE,
        ({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
         lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)),
        ({"kernel_shape": [2, 2], "strides": [1, 1], "dilations": [2, 3]},
         lambda x: F.max_pool2d(x, 2, 1, dilation=(2, 3))),
        since=10)  # fmt: skip
    cases += several(
        "AveragePool", "AveragePool", IMAGE,
        ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
         lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
        ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1],
          "count_include_pad": 1}, lambda x: F.avg_pool2d(x, 3, 2, 1)),
        ({"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "count_include_pad": 1},
         lambda x: F.avg_pool2d(pool_asymmetric(x, 0.0), 2, 1)),
        ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, None),
    )  # fmt: skip
    cases += several(
        "AveragePool rounded up", "AveragePool", IMAGE,
        ({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
         lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True)),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1],
          "count_include_pad": 0},
         lambda x: F.avg_pool2d(x, 2, 2, 1, ceil_mode=True, count_include_pad=False)),
        ({"kernel_shape": [3, 3], "strides": [3, 2], "ceil_mode": 1, "pads": [1, 0, 0, 1]}, None),
        since=10)  # fmt: skip
    cases += [
        *(
            Case(f"GridSample {mode}", "GridSample", IMAGE, {"mode": mode, "align_corners": 1},
                 [GRID], since=since, until=until,
                 oracle=lambda x: F.grid_sample(x, t(GRID), align_corners=True))
            for mode, since, until in (("bilinear", 16, 19), ("linear", 20, NEWEST))
        ),
        Case("GlobalAveragePool", "GlobalAveragePool", IMAGE,
             oracle=lambda x: x.mean((2, 3), keepdim=True)),
        Case("GlobalMaxPool", "GlobalMaxPool", IMAGE,
             oracle=lambda x: x.amax((2, 3), keepdim=True)),
        Case("LpPool", "LpPool", IMAGE, {"kernel_shape": [2, 2], "strides": [2, 2], "p": 2},
             oracle=lambda x: F.lp_pool2d(x, 2, 2, 2)),
    ]  # fmt: skip
    for name in ("Softmax", "LogSoftmax"):
        function = getattr(torch, "softmax" if name == "Softmax" else "log_softmax")

        def flat(x: Tensor, axis: int, function: Any = function) -> Tensor:
            rows = x.flatten(axis).reshape(int(np.prod(x.shape[:axis])), -1)
            return function(rows, 1).reshape(x.shape)  # type: ignore[no-any-return]

        for axis in (1, 2, 3):
            cases += [
                Case(f"{name} {axis} of rows", name, IMAGE, {"axis": axis}, until=12,
                     oracle=lambda x, axis=axis, flat=flat: flat(x, axis)),
                Case(f"{name} {axis}", name, IMAGE, {"axis": axis}, since=13,
                     oracle=lambda x, axis=axis, f=function: f(x, axis)),
            ]  # fmt: skip
        cases += [
            Case(f"{name} by default, of rows", name, (3, 5), until=12,
                 oracle=lambda x, f=function: f(x, 1)),
            Case(f"{name} by default", name, IMAGE, since=13,
                 oracle=lambda x, f=function: f(x, -1)),
        ]  # fmt: skip
    return cases


def _reductions() -> list[Case]:
    cases = []
    functions: dict[str, Any] = {
        "ReduceMean": torch.mean,
        "ReduceSum": torch.sum,
        "ReduceMax": torch.amax,
        "ReduceMin": torch.amin,
        "ReduceL2": lambda x, axes, keepdim: torch.linalg.vector_norm(x, 2, axes, keepdim),
        "ReduceL1": lambda x, axes, keepdim: torch.linalg.vector_norm(x, 1, axes, keepdim),
        "ReduceProd": lambda x, axes, keepdim: x.prod(axes[0], keepdim),
        "ReduceSumSquare": lambda x, axes, keepdim: x.square().sum(axes, keepdim),
        "ReduceLogSumExp": lambda x, axes, keepdim: x.logsumexp(axes, keepdim),
    }
    for name, f in functions.items():
        axes = [2] if name == "ReduceProd" else [2, 3]
        moved = 13 if name == "ReduceSum" else 18
        for keep in (0, 1):
            cases += [
                Case(f"{name} {keep} by attribute", name, IMAGE,
                     {"axes": axes, "keepdims": keep}, until=moved - 1,
                     oracle=lambda x, f=f, a=axes, k=keep: f(x, a, keepdim=bool(k))),
                Case(f"{name} {keep}", name, IMAGE, {"keepdims": keep}, [ints(*axes)],
                     since=moved, oracle=lambda x, f=f, a=axes, k=keep: f(x, a, keepdim=bool(k))),
            ]  # fmt: skip
    cases += [
        Case("ReduceMean of all", "ReduceMean", IMAGE, {"keepdims": 0}, oracle=lambda x: x.mean()),
        Case("ReduceSum of nothing", "ReduceSum", IMAGE, {"noop_with_empty_axes": 1}, since=13,
             oracle=lambda x: x),
    ]  # fmt: skip
    for name, g in (("ArgMax", torch.argmax), ("ArgMin", torch.argmin)):
        cases += several(name, name, IMAGE,
            ({"axis": 1}, lambda x, g=g: g(x, 1, keepdim=True)),
            ({"axis": 2, "keepdims": 0}, lambda x, g=g: g(x, 2)))  # fmt: skip
    cases += [
        Case("TopK by attribute", "TopK", IMAGE, {"k": 3, "axis": 1}, outputs=2, until=9,
             oracle=lambda x: x.topk(3, 1).values),
        Case("TopK", "TopK", IMAGE, {"axis": 2}, [ints(3)], outputs=2, since=10,
             oracle=lambda x: x.topk(3, 2).values),
        Case("TopK smallest", "TopK", IMAGE, {"axis": -1, "largest": 0}, [ints(2)], outputs=2,
             since=11, oracle=lambda x: x.topk(2, -1, largest=False).values),
        Case("CumSum", "CumSum", IMAGE, {}, [np.array(2, np.int32)], since=11,
             oracle=lambda x: x.cumsum(2)),
        Case("CumSum reversed", "CumSum", IMAGE, {"reverse": 1, "exclusive": 1},
             [np.array(2, np.int32)], since=11,
             oracle=lambda x: x.flip(2).cumsum(2).flip(2) - x),
    ]  # fmt: skip
    return cases


def _shapes() -> list[Case]:
    table, rows = ints(2, 0, -1), numbers(3, 2, 2)
    picked = np.random.default_rng(2).integers(0, 7, (2, 4, 3, 6))
    return [
        Case("Flatten", "Flatten", IMAGE, oracle=lambda x: x.flatten(1)),
        Case("Flatten 2", "Flatten", IMAGE, {"axis": 2}, oracle=lambda x: x.reshape(8, 42)),
        Case("Reshape", "Reshape", IMAGE, {}, [ints(0, -1, 6)],
             oracle=lambda x: x.reshape(2, -1, 6)),
        Case("Transpose", "Transpose", IMAGE, {"perm": [0, 2, 3, 1]},
             oracle=lambda x: x.permute(0, 2, 3, 1)),
        Case("Transpose by default", "Transpose", IMAGE, oracle=lambda x: x.permute(3, 2, 1, 0)),
        Case("Squeeze by attribute", "Squeeze", (2, 1, 3, 1), {"axes": [1]}, until=12,
             oracle=lambda x: x.squeeze(1)),
        Case("Squeeze", "Squeeze", (2, 1, 3, 1), {}, [ints(1, 3)], since=13,
             oracle=lambda x: x.squeeze((1, 3))),
        Case("Unsqueeze by attribute", "Unsqueeze", (2, 3), {"axes": [0, 3]}, until=12,
             oracle=lambda x: x[None, :, :, None]),
        Case("Unsqueeze", "Unsqueeze", (2, 3), {}, [ints(-1)], since=13,
             oracle=lambda x: x[..., None]),
        Case("Concat", "Concat", IMAGE, {"axis": 1}, [numbers(2, 1, 7, 6) * 0], oracle=None),
        Case("Split by attribute", "Split", IMAGE, {"axis": 1, "split": [1, 3]}, outputs=2,
             until=12, oracle=lambda x: x[:, :1]),
        Case("Split", "Split", IMAGE, {"axis": 1}, [ints(3, 1)], outputs=2, since=13,
             oracle=lambda x: x[:, :3]),
        Case("Split in equal parts", "Split", IMAGE, {"axis": 1}, outputs=2, until=17,
             oracle=lambda x: x[:, :2]),
        Case("Split by number", "Split", IMAGE, {"axis": 2, "num_outputs": 2}, outputs=2, since=18,
             oracle=lambda x: x[:, :, :4]),
        Case("Slice by attribute", "Slice", IMAGE, {"axes": [2, 3], "starts": [1, -4],
             "ends": [9999, -1]}, until=9, oracle=lambda x: x[:, :, 1:, -4:-1]),
        Case("Slice", "Slice", IMAGE, {}, [ints(5, 0), ints(-9999, 9999), ints(2, 3), ints(-2, 2)],
             since=10, oracle=lambda x: x.flip(2)[:, :, 1::2, ::2]),
        Case("Pad by attribute", "Pad", IMAGE, {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 0.5},
             until=10, oracle=lambda x: F.pad(x, (2, 1, 1, 0), value=0.5)),
        Case("Pad reflected", "Pad", IMAGE, {"mode": "reflect", "pads": [0, 0, 1, 2, 0, 0, 0, 1]},
             until=10, oracle=lambda x: F.pad(x, (2, 1, 1, 0), mode="reflect")),
        Case("Pad", "Pad", IMAGE, {}, [ints(0, 0, 1, 2, 0, 0, -1, 1), np.array(0.5, np.float32)],
             since=11, oracle=lambda x: F.pad(x, (2, 1, 1, -1), value=0.5)),
        Case("Pad edge", "Pad", IMAGE, {"mode": "edge"}, [ints(0, 0, 1, 2, 0, 0, 0, 1)], since=11,
             oracle=lambda x: F.pad(x, (2, 1, 1, 0), mode="replicate")),
        Case("Pad of axes", "Pad", IMAGE, {}, [ints(1, 2), None, ints(3)], since=18,
             oracle=lambda x: F.pad(x, (1, 2))),
        Case("Gather", "Gather", IMAGE, {"axis": 1}, [ints(2, 0)], oracle=lambda x: x[:, [2, 0]]),
        Case("Gather from the end", "Gather", IMAGE, {"axis": 2}, [table], since=11,
             oracle=lambda x: x[:, :, [2, 0, -1]]),
        Case("GatherElements", "GatherElements", IMAGE, {"axis": 2}, [picked], since=11,
             oracle=lambda x: x.gather(2, torch.from_numpy(picked))),
        Case("GatherND", "GatherND", (3, 4), {}, [np.array([[0, 1], [2, 3]])], since=11,
             oracle=lambda x: x[[0, 2], [1, 3]]),
        Case("ScatterND", "ScatterND", (4, 2, 2), {}, [np.array([[1], [3], [0]]), rows], since=11,
             oracle=None),
        Case("Expand", "Expand", (1, 3, 1), {}, [ints(2, 3, 4)], since=8,
             oracle=lambda x: x.expand(2, 3, 4)),
        Case("Tile", "Tile", (2, 3), {}, [ints(2, 1)], oracle=lambda x: x.repeat(2, 1)),
        Case("DepthToSpace", "DepthToSpace", (1, 8, 2, 3), {"blocksize": 2}, since=7,
             oracle=lambda x: x.reshape(1, 2, 2, 2, 2, 3).permute(0, 3, 4, 1, 5, 2)
             .reshape(1, 2, 4, 6)),
        Case("DepthToSpace by columns", "DepthToSpace", (1, 8, 2, 3), {"blocksize": 2, "mode":
             "CRD"}, since=11, oracle=lambda x: F.pixel_shuffle(x, 2)),
        Case("SpaceToDepth", "SpaceToDepth", (1, 2, 4, 6), {"blocksize": 2}, oracle=None),
        Case("Cast to integers", "Cast", IMAGE, {"to": TensorProto.INT64}, since=9,
             oracle=lambda x: x.long()),
        Case("Cast to half", "Cast", IMAGE, {"to": TensorProto.FLOAT16}, since=9,
             oracle=lambda x: x),
        Case("Shape", "Shape", IMAGE, oracle=lambda x: torch.tensor(x.shape)),
        Case("Greater", "Greater", IMAGE, {}, [np.array(0.1, np.float32)], since=9, oracle=None),
        Case("Equal", "Equal", IMAGE, {}, [np.array(0.1, np.float32)], since=11, oracle=None),
        Case("Einsum", "Einsum", (2, 3, 4), {"equation": "bij,jk->bik"}, [numbers(4, 5)], since=12,
             oracle=None),
    ]  # fmt: skip


def _resizing() -> list[Case]:
    small = (1, 2, 4, 5)
    up = np.array([1, 1, 2, 3], np.float32)
    odd = np.array([1, 1, 1.5, 1.75], np.float32)  # no place falls between two pixels exactly
    down = np.array([1, 1, 0.5, 0.625], np.float32)
    empty = np.array([], np.float32)
    cases = [
        Case("Upsample by attribute", "Upsample", small, {"scales": [1.0, 1.0, 2.0, 3.0]}, until=8,
             oracle=lambda x: F.interpolate(x, scale_factor=(2, 3))),
        Case("Upsample", "Upsample", small, {}, [up], since=9, until=9,
             oracle=lambda x: F.interpolate(x, scale_factor=(2, 3))),
        Case("Upsample linear", "Upsample", small, {"mode": "linear"}, [up], since=9, until=9),
        Case("Resize 10", "Resize", small, {}, [up], since=10, until=10,
             oracle=lambda x: F.interpolate(x, scale_factor=(2, 3))),
        Case("Resize 10 odd", "Resize", small, {}, [odd], since=10, until=10),
        Case("Resize 10 down", "Resize", small, {}, [down], since=10, until=10),
        Case("Resize 10 linear", "Resize", small, {"mode": "linear"}, [up], since=10, until=10),
        Case("Resize to sizes", "Resize", small,
             {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
             [empty, empty, ints(1, 2, 9, 8)], since=11,
             oracle=lambda x: F.interpolate(x, (9, 8), mode="bilinear")),
        Case("Resize corners", "Resize", small,
             {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, [empty, up],
             since=11,
             oracle=lambda x: F.interpolate(x, (8, 15), mode="bilinear", align_corners=True)),
        Case("Resize cubic", "Resize", small,
             {"mode": "cubic", "cubic_coeff_a": -0.75,
              "coordinate_transformation_mode": "half_pixel"}, [empty, up], since=11,
             oracle=lambda x: F.interpolate(x, scale_factor=(2, 3), mode="bicubic")),
    ]  # fmt: skip
    for mode in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
        for rounding in ("floor", "round_prefer_floor", "ceil", "round_prefer_ceil"):
            attributes = {"coordinate_transformation_mode": mode, "nearest_mode": rounding}
            cases.append(Case(f"Resize {mode} {rounding}", "Resize", small, attributes,
                              [empty, odd], since=11))  # fmt: skip
        cases.append(Case(f"Resize linear {mode}", "Resize", small,
                          {"mode": "linear", "coordinate_transformation_mode": mode},
                          [empty, down], since=11))  # fmt: skip
    return cases


CASES = [*_elementwise(), *_layers(), *_reductions(), *_shapes(), *_resizing()]

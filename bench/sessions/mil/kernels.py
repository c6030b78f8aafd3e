"""What each MIL operation computes, in torch and in float32.

Source: the MIL operator reference, and the value inference in coremltools' own definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from edgerep.bench.sessions.mil import shape_kernels, window_kernels
from edgerep.bench.sessions.mil.values import Arguments, ints, tensor

Kernel: TypeAlias = Callable[[Arguments], Any]

_GELUS = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}


def _unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda a: function(tensor(a["x"]))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda a: function(tensor(a["x"]), tensor(a["y"]))


def _reduction(function: Callable[..., Tensor]) -> Kernel:
    def kernel(a: Arguments) -> Tensor:
        x = tensor(a["x"])
        axes = range(x.ndim) if a.get("axes") is None else ints(a["axes"])
        return function(x, tuple(axes), keepdim=bool(a["keep_dims"]))

    return kernel


def _l2_norm(x: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    return torch.sqrt(torch.sum(x * x, axes, keepdim=keepdim))


def _batch_norm(a: Arguments) -> Tensor:
    return functional.batch_norm(
        a["x"], a["mean"], a["variance"], a["gamma"], a["beta"], eps=float(a["epsilon"])
    )


def _layer_norm(a: Arguments) -> Tensor:
    x = tensor(a["x"])
    axes = sorted(axis % x.ndim for axis in ints(a["axes"]))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + float(a["epsilon"]))
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    x = x if a.get("gamma") is None else x * a["gamma"].reshape(shape)
    return x if a.get("beta") is None else x + a["beta"].reshape(shape)


def _linear(a: Arguments) -> Tensor:
    bias = a.get("bias")
    bias = None if bias is None else tensor(bias)
    return functional.linear(tensor(a["x"]), tensor(a["weight"]), bias)


def _matmul(a: Arguments) -> Tensor:
    x, y = tensor(a["x"]), tensor(a["y"])
    x = x.mT if a["transpose_x"] else x
    y = y.mT if a["transpose_y"] else y
    return x @ y


def _clip(a: Arguments) -> Tensor:
    return torch.clamp(a["x"], float(a["alpha"]), float(a["beta"]))


def _hard_sigmoid(a: Arguments) -> Tensor:
    return torch.clamp(a["x"] * float(a["alpha"]) + float(a["beta"]), 0, 1)


def _thresholded_relu(a: Arguments) -> Tensor:
    x = tensor(a["x"])
    return torch.where(x >= float(a["alpha"]), x, 0)


def _cast(a: Arguments) -> Tensor:
    # The result's own type does the rounding; to an integer, towards zero.
    return torch.trunc(a["x"]) if str(a["dtype"]).startswith("int") else tensor(a["x"])


def _classify(a: Arguments) -> tuple[str, dict[str, float]]:
    """The most probable label, and the probability of each label."""
    probabilities = a["probabilities"].reshape(-1)
    names = [str(name) for name in a["classes"]]
    best = names[int(probabilities.argmax())]
    return best, dict(zip(names, probabilities.tolist(), strict=True))


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "abs": _unary(torch.abs),
        "add": _binary(torch.add),
        "avg_pool": window_kernels.avg_pool,
        "batch_norm": _batch_norm,
        "cast": _cast,
        "classify": _classify,
        "clip": _clip,
        "concat": lambda a: torch.cat([tensor(v) for v in a["values"]], int(a["axis"])),
        "conv": window_kernels.conv,
        "erf": _unary(torch.erf),
        "exp": _unary(torch.exp),
        "expand_dims": shape_kernels.expand_dims,
        "gather": shape_kernels.gather,
        "gelu": lambda a: functional.gelu(a["x"], approximate=_GELUS[str(a["mode"])]),
        "identity": _unary(torch.clone),
        "layer_norm": _layer_norm,
        "leaky_relu": lambda a: functional.leaky_relu(a["x"], float(a["alpha"])),
        "linear": _linear,
        "matmul": _matmul,
        "max_pool": window_kernels.max_pool,
        "maximum": _binary(torch.maximum),
        "minimum": _binary(torch.minimum),
        "mul": _binary(torch.mul),
        "pad": shape_kernels.pad,
        "pow": _binary(torch.pow),
        "prelu": lambda a: functional.prelu(a["x"], a["alpha"]),
        "real_div": _binary(torch.true_divide),
        "reduce_l2_norm": _reduction(_l2_norm),
        "reduce_max": _reduction(torch.amax),
        "reduce_mean": _reduction(torch.mean),
        "reduce_min": _reduction(torch.amin),
        "reduce_sum": _reduction(torch.sum),
        "relu": _unary(torch.relu),
        "reshape": lambda a: tensor(a["x"]).reshape(ints(a["shape"])),
        "sigmoid": _unary(torch.sigmoid),
        "sigmoid_hard": _hard_sigmoid,
        "silu": _unary(functional.silu),
        "slice_by_index": shape_kernels.slice_by_index,
        "softmax": lambda a: torch.softmax(a["x"], int(a["axis"])),
        "split": shape_kernels.split,
        "sqrt": _unary(torch.sqrt),
        "squeeze": shape_kernels.squeeze,
        "sub": _binary(torch.sub),
        "tanh": _unary(torch.tanh),
        "thresholded_relu": _thresholded_relu,
        "tile": lambda a: tensor(a["x"]).repeat(ints(a["reps"])),
        "transpose": lambda a: tensor(a["x"]).permute(ints(a["perm"])),
    }
)

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

from edgerep.bench.sessions.mil import (
    choice_kernels,
    quantising_kernels,
    resize_kernels,
    shape_kernels,
    window_kernels,
)
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
    x = tensor(a["x"])
    if str(a["dtype"]) == "bool":
        return x != 0
    whole = str(a["dtype"]).startswith(("int", "uint"))
    return torch.trunc(x) if whole and x.is_floating_point() else x


def _instance_norm(a: Arguments) -> Tensor:
    return functional.instance_norm(
        a["x"], weight=a.get("gamma"), bias=a.get("beta"), eps=float(a["epsilon"])
    )


def _log(a: Arguments) -> Tensor:
    return torch.log(tensor(a["x"]) + float(a["epsilon"]))


def _prod(x: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keepdim)
    return x


def _cumsum(a: Arguments) -> Tensor:
    x, axis = tensor(a["x"]), int(a["axis"])
    x = x.flip(axis) if a["reverse"] else x
    if a["exclusive"]:  # what lies before each number, and nothing before the first
        before = x.narrow(axis, 0, x.shape[axis] - 1)
        x = torch.cat([torch.zeros_like(x.narrow(axis, 0, 1)), before], axis)
    total = torch.cumsum(x, axis)
    return total.flip(axis) if a["reverse"] else total


def _sum_square(x: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    return torch.sum(x * x, axes, keepdim=keepdim)


def _l1_norm(x: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    return torch.sum(torch.abs(x), axes, keepdim=keepdim)


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
        "atan": _unary(torch.atan),
        "avg_pool": window_kernels.avg_pool,
        "batch_norm": _batch_norm,
        "cast": _cast,
        "ceil": _unary(torch.ceil),
        "classify": _classify,
        "clip": _clip,
        "concat": lambda a: torch.cat([tensor(v) for v in a["values"]], int(a["axis"])),
        "conv": window_kernels.conv,
        "conv_transpose": window_kernels.conv_transpose,
        "cos": _unary(torch.cos),
        "cosh": _unary(torch.cosh),
        "cumsum": _cumsum,
        "dequantize": quantising_kernels.dequantize,
        "depth_to_space": resize_kernels.depth_to_space,
        "elu": lambda a: functional.elu(a["x"], float(a["alpha"])),
        "equal": _binary(torch.eq),
        "erf": _unary(torch.erf),
        "exp": _unary(torch.exp),
        "expand_dims": shape_kernels.expand_dims,
        "fill": choice_kernels.fill,
        "fill_like": choice_kernels.fill_like,
        "floor": _unary(torch.floor),
        "floor_div": _binary(torch.floor_divide),
        "gather": choice_kernels.gather,
        "gather_along_axis": choice_kernels.gather_along_axis,
        "gather_nd": choice_kernels.gather_nd,
        "gelu": lambda a: functional.gelu(a["x"], approximate=_GELUS[str(a["mode"])]),
        "greater": _binary(torch.gt),
        "greater_equal": _binary(torch.ge),
        "identity": _unary(torch.clone),
        "instance_norm": _instance_norm,
        "layer_norm": _layer_norm,
        "leaky_relu": lambda a: functional.leaky_relu(a["x"], float(a["alpha"])),
        "less": _binary(torch.lt),
        "less_equal": _binary(torch.le),
        "linear": _linear,
        "log": _log,
        "logical_and": _binary(torch.logical_and),
        "logical_not": _unary(torch.logical_not),
        "logical_or": _binary(torch.logical_or),
        "logical_xor": _binary(torch.logical_xor),
        "matmul": _matmul,
        "max_pool": window_kernels.max_pool,
        "maximum": _binary(torch.maximum),
        "minimum": _binary(torch.minimum),
        "mod": _binary(torch.remainder),
        "mul": _binary(torch.mul),
        "not_equal": _binary(torch.ne),
        "pad": shape_kernels.pad,
        "pixel_shuffle": resize_kernels.pixel_shuffle,
        "pixel_unshuffle": resize_kernels.pixel_unshuffle,
        "pow": _binary(torch.pow),
        "prelu": lambda a: functional.prelu(a["x"], a["alpha"]),
        "quantize": quantising_kernels.quantize,
        "real_div": _binary(torch.true_divide),
        "reduce_argmax": choice_kernels.argmax,
        "reduce_argmin": choice_kernels.argmin,
        "reduce_l1_norm": _reduction(_l1_norm),
        "reduce_l2_norm": _reduction(_l2_norm),
        "reduce_max": _reduction(torch.amax),
        "reduce_mean": _reduction(torch.mean),
        "reduce_min": _reduction(torch.amin),
        "reduce_prod": _reduction(_prod),
        "reduce_sum": _reduction(torch.sum),
        "reduce_sum_square": _reduction(_sum_square),
        "relu": _unary(torch.relu),
        "reshape": lambda a: tensor(a["x"]).reshape(ints(a["shape"])),
        "resample": resize_kernels.resample,
        "resize_bilinear": resize_kernels.resize_bilinear,
        "reverse": lambda a: tensor(a["x"]).flip(ints(a["axes"])),
        "round": _unary(torch.round),
        "scatter_along_axis": choice_kernels.scatter_along_axis,
        "scatter_nd": choice_kernels.scatter_nd,
        "select": choice_kernels.select,
        "shape": lambda a: torch.tensor(tensor(a["x"]).shape),
        "sigmoid": _unary(torch.sigmoid),
        "sigmoid_hard": _hard_sigmoid,
        "sign": _unary(torch.sign),
        "silu": _unary(functional.silu),
        "sin": _unary(torch.sin),
        "sinh": _unary(torch.sinh),
        "slice_by_index": shape_kernels.slice_by_index,
        "softmax": lambda a: torch.softmax(a["x"], int(a["axis"])),
        "softplus": _unary(functional.softplus),
        "softsign": _unary(functional.softsign),
        "space_to_depth": resize_kernels.space_to_depth,
        "split": shape_kernels.split,
        "sqrt": _unary(torch.sqrt),
        "square": _unary(torch.square),
        "squeeze": shape_kernels.squeeze,
        "sub": _binary(torch.sub),
        "tan": _unary(torch.tan),
        "tanh": _unary(torch.tanh),
        "thresholded_relu": _thresholded_relu,
        "tile": lambda a: tensor(a["x"]).repeat(ints(a["reps"])),
        "topk": choice_kernels.topk,
        "transpose": lambda a: tensor(a["x"]).permute(ints(a["perm"])),
        "upsample_bilinear": resize_kernels.upsample_bilinear,
        "upsample_nearest_neighbor": resize_kernels.upsample_nearest_neighbor,
    }
)

"""What each MIL operation computes, in torch and in float32.

Source: the MIL operator reference, and the value inference in coremltools' own definitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgerep.errors import CoremlError

Arguments: TypeAlias = Mapping[str, Any]
Kernel: TypeAlias = Callable[[Arguments], Any]

_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
_MAX_POOLS = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)


def _unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda a: function(_tensor(a["x"]))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda a: function(_tensor(a["x"]), _tensor(a["y"]))


def _conv(a: Arguments) -> Tensor:
    x = functional.pad(a["x"], _padding(a))
    rank = x.ndim - 2
    return torch.convolution(
        x, a["weight"], a.get("bias"), _ints(a["strides"]), [0] * rank, _ints(a["dilations"]),
        False, [0] * rank, int(a["groups"]),
    )  # fmt: skip


def _avg_pool(a: Arguments) -> Tensor:
    pool = _POOLS[a["x"].ndim - 3]
    kernel, strides, padding = _ints(a["kernel_sizes"]), _ints(a["strides"]), _padding(a)
    _require_floor(a)
    mean = pool(functional.pad(a["x"], padding), kernel, strides)
    if not a["exclude_padding_from_average"]:
        return mean
    inside = functional.pad(torch.ones_like(a["x"]), padding)
    return mean / pool(inside, kernel, strides)


def _max_pool(a: Arguments) -> Tensor:
    _require_floor(a)
    x = functional.pad(a["x"], _padding(a), value=-math.inf)
    return _MAX_POOLS[x.ndim - 3](x, _ints(a["kernel_sizes"]), _ints(a["strides"]))


def _batch_norm(a: Arguments) -> Tensor:
    return functional.batch_norm(
        a["x"], a["mean"], a["variance"], a["gamma"], a["beta"], eps=float(a["epsilon"])
    )


def _linear(a: Arguments) -> Tensor:
    return functional.linear(a["x"], a["weight"], a.get("bias"))


def _matmul(a: Arguments) -> Tensor:
    x, y = _tensor(a["x"]), _tensor(a["y"])
    x = x.mT if a["transpose_x"] else x
    y = y.mT if a["transpose_y"] else y
    return x @ y


def _reduce_mean(a: Arguments) -> Tensor:
    axes = None if a.get("axes") is None else _ints(a["axes"])
    return a["x"].mean(axes, keepdim=bool(a["keep_dims"]))  # type: ignore[no-any-return]


def _clip(a: Arguments) -> Tensor:
    return torch.clamp(a["x"], float(a["alpha"]), float(a["beta"]))


def _cast(a: Arguments) -> Tensor:
    # The result's own type does the rounding; to an integer, towards zero.
    return torch.trunc(a["x"]) if str(a["dtype"]).startswith("int") else _tensor(a["x"])


def _squeeze(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    return x.squeeze() if a.get("axes") is None else x.squeeze(tuple(_ints(a["axes"])))


def _expand_dims(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    axes = _ints(a["axes"])
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _classify(a: Arguments) -> tuple[str, dict[str, float]]:
    """The label, and the probability of each label."""
    probabilities = a["probabilities"].reshape(-1)
    names = [str(name) for name in a["classes"]]
    best = names[int(probabilities.argmax())]
    return best, dict(zip(names, probabilities.tolist(), strict=True))


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))


def _ints(value: Any) -> list[int]:
    return [int(number) for number in np.asarray(value).reshape(-1)]


def _padding(a: Arguments) -> Sequence[int]:
    """MIL's pads (first dimension first) as `functional.pad` wants them (last one first)."""
    if a["pad_type"] == "valid":
        return [0] * (2 * (a["x"].ndim - 2))
    if a["pad_type"] != "custom":
        raise CoremlError(f"the reference interpreter does not know pad_type {a['pad_type']!r}")
    pads = _ints(a["pad"])
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    return [size for pair in reversed(pairs) for size in pair]


def _require_floor(a: Arguments) -> None:
    if a["ceil_mode"]:
        raise CoremlError("the reference interpreter does not know pooling with ceil_mode")


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "add": _binary(torch.add),
        "avg_pool": _avg_pool,
        "batch_norm": _batch_norm,
        "cast": _cast,
        "classify": _classify,
        "clip": _clip,
        "concat": lambda a: torch.cat([_tensor(v) for v in a["values"]], int(a["axis"])),
        "conv": _conv,
        "expand_dims": _expand_dims,
        "identity": _unary(torch.clone),
        "linear": _linear,
        "matmul": _matmul,
        "max_pool": _max_pool,
        "maximum": _binary(torch.maximum),
        "minimum": _binary(torch.minimum),
        "mul": _binary(torch.mul),
        "real_div": _binary(torch.true_divide),
        "reduce_mean": _reduce_mean,
        "relu": _unary(torch.relu),
        "reshape": lambda a: _tensor(a["x"]).reshape(_ints(a["shape"])),
        "sigmoid": _unary(torch.sigmoid),
        "silu": _unary(functional.silu),
        "softmax": lambda a: torch.softmax(a["x"], int(a["axis"])),
        "squeeze": _squeeze,
        "sub": _binary(torch.sub),
        "transpose": lambda a: _tensor(a["x"]).permute(_ints(a["perm"])),
    }
)

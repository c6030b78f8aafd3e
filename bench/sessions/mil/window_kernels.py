"""What MIL's operations that slide a window compute: convolutions and pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgerep.bench.sessions.mil.values import Arguments, ints
from edgerep.errors import CoremlError

_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
_MAX_POOLS = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)


def conv(a: Arguments) -> Tensor:
    x = functional.pad(a["x"], _padding(a))
    rank = x.ndim - 2
    return torch.convolution(
        x, a["weight"], a.get("bias"), ints(a["strides"]), [0] * rank, ints(a["dilations"]),
        False, [0] * rank, int(a["groups"]),
    )  # fmt: skip


def conv_transpose(a: Arguments) -> Tensor:
    """Every row the kernel reaches, less what `pad` cuts off at either end."""
    x, weight = a["x"], a["weight"]
    rank = x.ndim - 2
    if a.get("output_shape") is not None or a["pad_type"] == "same":
        raise CoremlError(
            "the reference interpreter does not know conv_transpose by output_shape or pad_type "
            "'same'"
        )
    y = torch.convolution(
        x, weight, a.get("bias"), ints(a["strides"]), [0] * rank, ints(a["dilations"]),
        True, [0] * rank, int(a["groups"]),
    )  # fmt: skip
    return functional.pad(y, [-size for size in _padding(a)])


def avg_pool(a: Arguments) -> Tensor:
    pool = _POOLS[a["x"].ndim - 3]
    kernel, strides, padding = ints(a["kernel_sizes"]), ints(a["strides"]), _padding(a)
    _require_floor(a)
    mean = pool(functional.pad(a["x"], padding), kernel, strides)
    if not a["exclude_padding_from_average"]:
        return mean
    inside = functional.pad(torch.ones_like(a["x"]), padding)
    return mean / pool(inside, kernel, strides)


def max_pool(a: Arguments) -> Tensor:
    _require_floor(a)
    x = functional.pad(a["x"], _padding(a), value=-math.inf)
    return _MAX_POOLS[x.ndim - 3](x, ints(a["kernel_sizes"]), ints(a["strides"]))


def _padding(a: Arguments) -> Sequence[int]:
    """MIL's pads (first dimension first) as `functional.pad` wants them (last one first)."""
    if a["pad_type"] == "valid":
        return [0] * (2 * (a["x"].ndim - 2))
    if a["pad_type"] != "custom":
        raise CoremlError(f"the reference interpreter does not know pad_type {a['pad_type']!r}")
    pads = ints(a["pad"])
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    return [size for pair in reversed(pairs) for size in pair]


def _require_floor(a: Arguments) -> None:
    if a["ceil_mode"]:
        raise CoremlError("the reference interpreter does not know pooling with ceil_mode")

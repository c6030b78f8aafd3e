"""What MIL's operations between real numbers and 8-bit integers compute.

Numbers halfway between two steps go to the even one, as ONNX has it; Apple's reference says
`round` and nothing of halves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgerep.bench.sessions.mil.values import Arguments, tensor

_BOUNDS = {"int8": (-128, 127), "uint8": (0, 255)}


def quantize(a: Arguments) -> Tensor:
    x = tensor(a["input"])
    scale, zero = _affine(a, x.ndim)
    low, high = _BOUNDS[str(a["output_dtype"])]
    return torch.clamp(torch.round(x / scale) + zero, low, high)


def dequantize(a: Arguments) -> Tensor:
    x = tensor(a["input"])
    scale, zero = _affine(a, x.ndim)
    return (x.float() - zero) * scale


def dequantised_constant(op: Any) -> Tensor:
    """The value of a `constexpr_affine_dequantize`, in float32, rounded to its own type."""
    given = {name: var.val for name, var in op.inputs.items()}
    levels = torch.from_numpy(np.array(given["quantized_data"]))
    scale, zero = _affine(given, levels.ndim)
    exact = (levels.float() - zero) * scale
    return exact.half().float() if given["scale"].dtype == np.float16 else exact


def _affine(a: Arguments, rank: int) -> tuple[Tensor, Tensor]:
    """Scale and zero point in float32, as they are spread over a tensor of `rank` dimensions."""
    scale = tensor(a["scale"]).float()
    zero = torch.zeros(()) if a.get("zero_point") is None else tensor(a["zero_point"]).float()
    shape = [1] * rank
    if a.get("axis") is not None:
        shape[int(a["axis"])] = -1
    spread = [one.reshape(shape) if one.numel() > 1 else one.reshape(()) for one in (scale, zero)]
    return spread[0], spread[1]

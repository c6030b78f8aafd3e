"""Layer, group and instance norms with the variance taken in one pass, as many runtimes do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgerep.torch_modules.call_mode import CallMode


class OnePassNorms(CallMode):
    """Within this context, a variance is the mean of the squares less the square of the mean.

    torch takes the mean from each number first. ONNX Runtime does not, and loses digits where the
    mean is large beside the deviation: what rounding costs a network is not what it costs in torch.
    """

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        norm = _NORMS.get(func)
        found = None if norm is None else norm(*args, **kwargs)
        return func(*args, **kwargs) if found is None else found


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    scaled = _normalised(x, tuple(range(x.ndim - len(normalized_shape), x.ndim)), eps)
    scaled = scaled if weight is None else scaled * weight
    return scaled if bias is None else scaled + bias


def _group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    groups = x.reshape(len(x), num_groups, -1)
    return _affine(_normalised(groups, (2,), eps).reshape(x.shape), weight, bias)


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    if not use_input_stats:
        return None
    return _affine(_normalised(x, tuple(range(2, x.ndim)), eps), weight, bias)


def _normalised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    mean = x.mean(axes, keepdim=True)
    variance = (x * x).mean(axes, keepdim=True) - mean * mean
    return (x - mean) / torch.sqrt(variance.clamp(min=0) + eps)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    channels = (-1, *[1] * (x.ndim - 2))
    x = x if weight is None else x * weight.reshape(channels)
    return x if bias is None else x + bias.reshape(channels)


_NORMS: Mapping[Callable[..., Any], Callable[..., Tensor | None]] = {
    functional.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
    functional.instance_norm: _instance_norm,
    torch.layer_norm: _layer_norm,
    torch.group_norm: _group_norm,
}

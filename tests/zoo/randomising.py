"""Weights and statistics that make a wrong fold visible and a deep network well conditioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
Weighted = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


@torch.no_grad()
def randomise(module: Module, seed: int, inputs: Sequence[Tensor] | None = None) -> Module:
    """Draw every parameter and statistic from `seed`; the module, in eval mode.

    BatchNorms: gamma from U(0.5, 1.5), beta and mean from N(0, 0.5), variance from U(0.25, 2).
    Everything else from N(0, 1/fan-in), which is N(0, 1) for the scale of a channel. Then, in the
    order in which the network calls them, convolutions and linear layers are rescaled to outputs
    of deviation 1 (Mishkin & Matas, ICLR 2016), so that depth neither blows up nor dies out. The
    global random state is left as it was.

    Args:
        module: Changed in place.
        seed: Of the weights and of the images.
        inputs: Of the forward pass that measures deviations; two RGB images of 64x64 by default.
    """
    module.eval()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        for child in module.modules():
            _draw(child)
        images = (torch.randn(2, 3, 64, 64),) if inputs is None else inputs
    seen: set[int] = set()
    hooks = [
        child.register_forward_hook(lambda layer, _, y: _rescale(layer, y, seen))
        for child in module.modules()
        if isinstance(child, Weighted) and "weight" in child._parameters
    ]
    module(*images)
    for hook in hooks:
        hook.remove()
    return module


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        if module.affine:
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.5)
        if module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.25, 2)
        return
    for parameter in module.parameters(recurse=False):
        fan_in = max(1, parameter.numel() // parameter.shape[0] if parameter.ndim else 1)
        parameter.normal_(0, fan_in**-0.5)


def _rescale(layer: nn.Module, output: Tensor, seen: set[int]) -> Tensor:
    """Divide a layer by the deviation of its first output; a tied weight is divided once."""
    assert isinstance(layer, Weighted)
    deviation = output.std()
    if id(layer.weight) in seen or not deviation > 0:
        return output
    seen.add(id(layer.weight))
    layer.weight /= deviation
    if layer.bias is not None:
        layer.bias /= deviation
    return output / deviation

"""The arithmetic of re-parameterisation: branches and their BatchNorms become one kernel.

A branch is a convolution (or nothing: the identity) followed by a BatchNorm in eval mode, which
multiplies each output channel by `gamma / sqrt(running_var + eps)` and adds a constant. Every
branch, written with the kernel size of the largest, is `y = kernel * x + bias`; the sum of the
branches has the sum of the kernels and the sum of the biases. All of it in float64.

Source: X. Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# Float64 elements worked on at a time. 2 MiB stays in a core's cache, and keeps the memory that
# fusing needs beside its result small whatever the size of the block.
_SLICE_ELEMENTS = 1 << 18


@dataclass(frozen=True, eq=False)
class Affine:
    """What a BatchNorm does in eval mode: `y[c] = scale[c] * x[c] + shift[c]`, float64, [C]."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, eq=False)
class Branch:
    """One branch of a block.

    Attributes:
        weight: [C_out, C_in / groups, k, k] with k odd, padded by k // 2; None for the identity.
        affine: Of the BatchNorm behind it.
    """

    weight: Tensor | None
    affine: Affine


def fold_batchnorm(bn: nn.BatchNorm2d) -> Affine:
    """The affine map of a BatchNorm in eval mode, in float64.

    Raises:
        ValueError: It has no running statistics.
    """
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("a BatchNorm without running statistics is not a fixed map")
    device = float64_device(bn.running_var.device)
    mean = bn.running_mean.detach().to(device, torch.float64)
    scale = (bn.running_var.detach().to(device, torch.float64) + bn.eps).rsqrt()
    if bn.affine:
        scale = scale * bn.weight.detach().to(device, torch.float64)
    shift = -mean * scale
    if bn.affine:
        shift = shift + bn.bias.detach().to(device, torch.float64)
    return Affine(scale, shift)


def widen_kernel(weight: Tensor, size: int) -> Tensor:
    """The same convolution with a `size` x `size` kernel: zeros around [C_out, C_in/g, k, k]."""
    margin = (size - weight.shape[-1]) // 2
    return functional.pad(weight, (margin, margin, margin, margin))


def identity_kernel(channels: int, groups: int, size: int) -> Tensor:
    """The identity as a convolution: 1 at the centre, at each channel's own place in its group.

    Returns:
        [channels, channels / groups, size, size], float64.
    """
    kernel = torch.zeros(channels, channels // groups, size, size, dtype=torch.float64)
    own = torch.arange(channels)
    kernel[own, own % (channels // groups), size // 2, size // 2] = 1
    return kernel


def output_slices(shape: Sequence[int]) -> Iterator[slice]:
    """Slices of the output channels of a [C_out, ...] kernel, each small enough to stay cached."""
    row = max(1, torch.Size(shape[1:]).numel())
    step = max(1, _SLICE_ELEMENTS // row)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def fold_slice(branches: Sequence[Branch], rows: slice) -> Tensor:
    """Output channels `rows` of the kernel that all branches sum to.

    The first branch has the largest kernel; the others are added into its centre.

    Returns:
        [len(rows), C_in / groups, k, k], float64.
    """
    first, *others = branches
    if first.weight is None:
        raise ValueError("the first branch must be a convolution")
    kernel = _scaled(first.weight, first.affine, rows)
    size, columns = kernel.shape[-1], kernel.shape[1]
    for branch in others:
        if branch.weight is None:
            own = torch.arange(rows.start, rows.stop, device=kernel.device)
            centre = kernel[:, :, size // 2, size // 2]
            centre[own - rows.start, own % columns] += branch.affine.scale[rows]
        else:
            inner = branch.weight.shape[-1]
            margin = (size - inner) // 2
            part = kernel[:, :, margin : margin + inner, margin : margin + inner]
            part += _scaled(branch.weight, branch.affine, rows)
    return kernel


def fold_bias(branches: Sequence[Branch]) -> Tensor:
    """The bias that all branches sum to, [C_out], float64."""
    return torch.stack([branch.affine.shift for branch in branches]).sum(0)


@torch.no_grad()
def fold_into(branches: Sequence[Branch], conv: nn.Conv2d) -> None:
    """Write the sum of the branches into a convolution, each number rounded once."""
    if conv.bias is None:
        raise ValueError("the convolution that takes the folded branches needs a bias")
    for rows in output_slices(conv.weight.shape):
        conv.weight[rows].copy_(fold_slice(branches, rows))
    conv.bias.copy_(fold_bias(branches))


def float64_device(device: torch.device) -> torch.device:
    """`device`, or the CPU where it has no float64 (Apple's GPUs)."""
    return torch.device("cpu") if device.type == "mps" else device


def _scaled(weight: Tensor, affine: Affine, rows: slice) -> Tensor:
    """A new float64 tensor: the product of any floating type with a float64 tensor is float64."""
    part = weight.detach()[rows].to(affine.scale.device)
    return part * affine.scale[rows].reshape(-1, 1, 1, 1)

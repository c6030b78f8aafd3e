"""What torch's own layers compute, told by their `forward`; which are BatchNorms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

PADDING_MODES = ("reflect", "replicate", "circular")  # what is read beyond a border, zeros apart

_KINDS: Mapping[Any, str] = {
    nn.Conv1d.forward: "convolution",
    nn.Conv2d.forward: "convolution",
    nn.Conv3d.forward: "convolution",
    nn.ConvTranspose1d.forward: "transposed",
    nn.ConvTranspose2d.forward: "transposed",
    nn.ConvTranspose3d.forward: "transposed",
    nn.Linear.forward: "linear",
    nn.BatchNorm1d.forward: "batchnorm",  # the same function for 1 to 3 dimensions
    nn.SyncBatchNorm.forward: "batchnorm",
    nn.Identity.forward: "same",
    nn.Dropout.forward: "same",
    nn.Dropout1d.forward: "same",
    nn.Dropout2d.forward: "same",
    nn.Dropout3d.forward: "same",
    nn.AvgPool1d.forward: "average",
    nn.AvgPool2d.forward: "average",
    nn.AvgPool3d.forward: "average",
    nn.ZeroPad2d.forward: "pad",
    nn.ConstantPad2d.forward: "pad",
    nn.ReflectionPad2d.forward: "reflect",  # the same function for 1 to 3 dimensions
    nn.ReplicationPad2d.forward: "replicate",
    nn.CircularPad2d.forward: "circular",
}


def plain_kind(module: nn.Module) -> str | None:
    """What a module is that computes exactly what its class's `forward` says, hooks aside.

    Whatever else a subclass adds; None for any other module.
    """
    return _KINDS.get(type(module).forward)

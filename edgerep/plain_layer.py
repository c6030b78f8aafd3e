"""From a linear map to the torch layer that computes it: `Conv1d` to `Conv3d`, or `Linear`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.float64 import as_stored
from edgerep.linear_map import Axes, LinearMap
from edgerep.small_images import Columns, is_small

_LAYERS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
_CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}


@dataclass(frozen=True, eq=False)
class Settled:
    """A map in the terms of a torch convolution, which pads both ends of an axis alike.

    Attributes:
        source: The map.
        size: Taps of the layer's kernel along each axis.
        padding: Zeros at each end of each axis.
        dilation: Distance of neighbouring taps.
        margins: Zero taps to put in front of the map's kernel, and behind it, along each axis;
            negative where zero taps are taken off.
    """

    source: LinearMap
    size: Axes
    padding: Axes
    dilation: Axes
    margins: tuple[tuple[int, int], ...]

    @property
    def weights(self) -> int:
        """Numbers in the layer's kernel; multiply-adds of one output position."""
        return self.source.outputs * self.source.columns * math.prod(self.size)

    def rows(self, wanted: slice) -> Tensor:
        """Output channels of the layer's kernel, [len(wanted), columns, *size], float64."""
        kernel = self.source.rows(wanted)
        flat = [margin for pair in reversed(self.margins) for margin in pair]
        if any(flat):
            kernel = functional.pad(kernel, flat)
        if any(step > 1 for step in self.dilation):
            steps = tuple(slice(None, None, step) for step in self.dilation)
            kernel = kernel[(slice(None), slice(None), *steps)]
        return kernel

    def bias(self) -> Tensor:
        """[outputs], float64."""
        if self.source.bias is None:
            return torch.zeros(self.source.outputs, dtype=torch.float64)
        return self.source.bias()


def settle(source: LinearMap) -> Settled:
    """Choose padding, zero taps and dilation for a map; exact, whatever its offset and extent."""
    axes = [_settled_axis(source, axis) for axis in range(len(source.size))]
    return Settled(
        source=source,
        size=tuple(axis[0] for axis in axes),
        padding=tuple(axis[1] for axis in axes),
        dilation=tuple(axis[2] for axis in axes),
        margins=tuple(axis[3] for axis in axes),
    )


def _settled_axis(source: LinearMap, axis: int) -> tuple[int, int, int, tuple[int, int]]:
    """(size, padding, dilation, margins) along one axis.

    A zero tap in front moves the offset by one; one behind needs one more zero of padding there.
    Neither changes what is computed.
    """
    used = sorted({tap[axis] for tap in source.taps})
    offset = source.offset[axis] + used[0]  # of a kernel without zero taps at its ends
    length = used[-1] - used[0] + 1
    lead = max(offset, 0)
    before = max(-offset, 0)
    behind = source.extent[axis] + length + lead - before
    trail = max(-behind, 0)
    behind = max(behind, 0)
    lead, trail = lead + max(behind - before, 0), trail + max(before - behind, 0)
    padding = max(before, behind)
    length += lead + trail
    step = math.gcd(length - 1, *(tap - used[0] + lead for tap in used)) or 1
    margins = (lead - used[0], trail - (source.size[axis] - 1 - used[-1]))
    return (length - 1) // step + 1, padding, step, margins


def empty_layer(settled: Settled, like: Tensor) -> nn.Module:
    """The layer, its numbers not yet written, in the type and on the device of `like`."""
    source = settled.source
    with torch.device("meta"):  # no time spent on initial values
        if not source.size:
            layer: nn.Module = nn.Linear(source.inputs, source.outputs)
        else:
            layer = _LAYERS[len(source.size)](
                source.inputs,
                source.outputs,
                settled.size,  # type: ignore[arg-type]
                stride=source.stride,  # type: ignore[arg-type]
                padding=settled.padding,  # type: ignore[arg-type]
                dilation=settled.dilation,  # type: ignore[arg-type]
                groups=source.groups,
            )
    return layer.to_empty(device=like.device).to(like.dtype).eval()


def write_numbers(settled: Settled, layer: nn.Module) -> None:
    """Write kernel and bias into a layer, each number rounded once."""
    fold_images(settled, (), layer)


@torch.no_grad()
def fold_images(
    settled: Settled, images: Sequence[Tensor], layer: nn.Module | None = None
) -> list[Tensor]:
    """The map's value on each of some images, [N, inputs, *image] float64, with unrounded numbers.

    The kernel is made once for all of them, a slice of its output channels at a time; on the way
    each slice is rounded into `layer`, where one is given.
    """
    source, bias = settled.source, settled.bias()
    appliers = [_applier(settled, image) for image in images]
    parts: list[list[Tensor]] = [[] for _ in images]
    # A group's kernels are small, and a slice could begin inside a group: all at once then.
    whole = [slice(0, source.outputs)]
    for rows in source.slices() if source.groups == 1 or not images else whole:
        kernel = settled.rows(rows)
        if layer is not None:
            layer.get_parameter("weight")[rows].copy_(kernel)
        for apply, found in zip(appliers, parts, strict=True):
            found.append(apply(kernel))
    if layer is not None:
        layer.get_parameter("bias").copy_(bias)
    shape = (-1, *[1] * len(source.size))
    return [torch.cat(found, 1) + bias.to(found[0].device).reshape(shape) for found in parts]


def _applier(settled: Settled, image: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes of some rows of the kernel their output channels for an image."""
    source = settled.source
    if not source.size:
        return lambda kernel: functional.linear(image, kernel.to(image.device))
    stride, padding, dilation = source.stride, settled.padding, settled.dilation
    if is_small(image, source.groups, stride):
        columns = Columns(image, settled.size, stride, padding, dilation)
        return lambda kernel: columns.convolve(kernel.to(image.device))
    convolve = _CONVOLVE[len(source.size)]
    return lambda kernel: convolve(
        image, kernel.to(image.device), stride=stride, padding=padding, dilation=dilation,
        groups=source.groups,
    )  # fmt: skip


class ExactLayer(nn.Module):
    """A settled map computed in float64, its numbers not rounded; one pass does all the work.

    At its first call it also computes its map on probe images, and writes its rounded numbers into
    the layer that will be deployed.

    Attributes:
        folded: The map's value on the probes; None until then.
    """

    def __init__(self, settled: Settled, probes: Tensor, layer: nn.Module) -> None:
        super().__init__()
        self.folded: Tensor | None = None
        self._settled = settled
        self._probes = probes
        self._layer = [layer]  # not a child of this module

    def forward(self, x: Tensor) -> Tensor:
        with as_stored():
            if self.folded is not None:
                return fold_images(self._settled, [x])[0]
            y, self.folded = fold_images(self._settled, [x, self._probes], self._layer[0])
            return y

    def folded_probes(self) -> Tensor:
        """The map's value on the probes, also where the network never called this layer."""
        if self.folded is None:
            (self.folded,) = fold_images(self._settled, [self._probes], self._layer[0])
        return self.folded

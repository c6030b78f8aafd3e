"""From a linear map to the torch layer that computes it: `Conv1d` to `Conv3d`, or `Linear`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

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

Taker: TypeAlias = Callable[[slice, Tensor], None]  # of some rows of a kernel, float64


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
    kind: Any = _LAYERS[len(source.size)] if source.size else nn.Linear
    sizes: dict[str, Any] = {}
    if source.size:
        sizes = {"kernel_size": settled.size, "stride": source.stride, "padding": settled.padding,
                 "dilation": settled.dilation, "groups": source.groups}  # fmt: skip
    layer: nn.Module = _without_values(kind)(
        source.inputs, source.outputs, **sizes, device=like.device, dtype=like.dtype
    )
    layer.__class__ = kind
    return layer.eval()


@functools.cache
def _without_values(kind: Any) -> Any:
    """The class, less the time that it spends on initial values."""
    return type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})


def write_numbers(settled: Settled, layer: nn.Module) -> None:
    """Write kernel and bias into a layer, each number rounded once."""
    fold_images(settled, (), _writer(settled, layer))


def _writer(settled: Settled, layer: nn.Module) -> Taker:
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    bias.detach().copy_(settled.bias())

    def write(rows: slice, kernel: Tensor) -> None:
        weight.detach()[rows].copy_(kernel)

    return write


@torch.no_grad()
def fold_images(
    settled: Settled, images: Sequence[Tensor], take: Taker | None = None
) -> list[Tensor]:
    """The map's value on each of some images, [N, inputs, *image] float64, with unrounded numbers.

    The kernel is made once for all of them, a slice of its output channels at a time, each small
    enough to stay in a core's cache; `take` is shown every slice.
    """
    source, bias = settled.source, settled.bias()
    apply = _applier(settled, images)
    parts: list[list[Tensor]] = [[] for _ in images]
    # A group's kernels are small, and a slice could begin inside a group: all at once then.
    whole = [slice(0, source.outputs)]
    for rows in source.slices() if source.groups == 1 or not images else whole:
        kernel = settled.rows(rows)
        if take is not None:
            take(rows, kernel)
        for found, part in zip(parts, apply(kernel), strict=True):
            found.append(part)
    return [_with_bias(found, bias, len(source.size)) for found in parts]


def _applier(settled: Settled, images: Sequence[Tensor]) -> Callable[[Tensor], list[Tensor]]:
    """What makes of some rows of the kernel their output channels for each image, without bias."""
    source = settled.source
    stride, padding, dilation = source.stride, settled.padding, settled.dilation
    if not source.size:
        return lambda kernel: [functional.linear(x, kernel.to(x.device)) for x in images]
    if images and all(is_small(x, source.groups, stride) for x in images):
        columns = Columns(images, settled.size, stride, padding, dilation)
        return lambda kernel: columns.convolve(kernel.to(images[0].device))
    convolve = _CONVOLVE[len(source.size)]
    return lambda kernel: [
        convolve(
            x, kernel.to(x.device), stride=stride, padding=padding, dilation=dilation,
            groups=source.groups,
        )
        for x in images
    ]  # fmt: skip


@dataclass(slots=True)
class _Kept:
    """What a layer found out in a run whose other traces are undone (`state_kept`)."""

    value: tuple[Tensor, Tensor] | None = None


class ExactLayer(nn.Module):
    """A settled map computed in float64, its numbers not rounded; one pass does all the work.

    At its first call it also writes its rounded numbers into the layer that will be deployed, and
    computes what both make of probe images.
    """

    def __init__(self, settled: Settled, probes: Tensor, layer: nn.Module) -> None:
        super().__init__()
        self._settled = settled
        self._probes = probes
        self._layer = [layer]  # not a child of this module
        self._probed = _Kept()

    def forward(self, x: Tensor) -> Tensor:
        # Each of its tensors has the type that it needs: nothing is to be widened in here.
        with torch._C.DisableTorchFunction():
            known = self._probed.value is not None
            return (fold_images(self._settled, [x]) if known else self._first_call(x))[0]

    def probed(self) -> tuple[Tensor, Tensor]:
        """What the unrounded map makes of the probes, and the deployed layer of the first of them.

        Also where the network never called this layer.
        """
        if self._probed.value is None:
            self._first_call()
        assert self._probed.value is not None
        return self._probed.value

    @torch.no_grad()
    def _first_call(self, *images: Tensor) -> list[Tensor]:
        (layer,) = self._layer
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        apply = _applier(self._settled, [self._probes[:1].to(weight.device, weight.dtype)])
        write, rounded = _writer(self._settled, layer), []

        def take(rows: slice, kernel: Tensor) -> None:
            write(rows, kernel)
            rounded.extend(apply(weight[rows]))  # at once, while they are in a core's cache

        *results, folded = fold_images(self._settled, [*images, self._probes], take)
        self._probed.value = folded, _with_bias(rounded, bias, len(self._settled.source.size))
        return results


def _with_bias(parts: Sequence[Tensor], bias: Tensor, axes: int) -> Tensor:
    """The output channels of a kernel's slices, one behind the other, plus the bias.

    Those of an image stand in the second place, those of vectors in the last.
    """
    result = torch.cat([*parts], 1 if axes else -1)
    return result + bias.to(result.device).reshape(-1, *[1] * axes)

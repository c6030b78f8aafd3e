"""From a linear map to the torch layer that computes it: `Conv1d` to `Conv3d`, or `Linear`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.algebra.linear_map import Axes, LinearMap
from edgerep.torch_modules.call_mode import CallMode

_LAYERS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
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
    kind: Any = _LAYERS[len(source.size)] if source.size else nn.Linear
    sizes: dict[str, Any] = {}
    if source.size:
        sizes = {"kernel_size": settled.size, "stride": source.stride, "padding": settled.padding,
                 "dilation": settled.dilation, "groups": source.groups}  # fmt: skip
    with _WithoutValues():
        layer: nn.Module = kind(
            source.inputs, source.outputs, **sizes, device=like.device, dtype=like.dtype
        )
    return layer.eval()


class _WithoutValues(CallMode):
    """Within this context, `torch.nn.init` does nothing: layers are made in no time.

    Torch's own way, `skip_init`, imports sympy when it is first used, which takes a second.
    """

    def called(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"]
        return func(*args, **kwargs)


@torch.no_grad()
def write_numbers(settled: Settled, layer: nn.Module) -> None:
    """Write kernel and bias into a layer of that map, each number rounded once."""
    # The bias first: what is kept of it would stand behind the slices in memory, and hold theirs.
    layer.get_parameter("bias").copy_(settled.bias())
    weight = layer.get_parameter("weight")
    for rows in settled.source.slices():
        weight[rows].copy_(settled.rows(rows))

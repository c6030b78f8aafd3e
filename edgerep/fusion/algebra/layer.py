"""From a linear map to the torch layer that computes it, with its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.algebra.linear_map import Axes, LinearMap
from edgerep.fusion.algebra.transposed import by_inputs, by_outputs, settled_transposed_axis
from edgerep.torch_modules.call_mode import CallMode

_LAYERS: Mapping[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: Mapping[int, Any] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


@dataclass(frozen=True, eq=False)
class Settled:
    """A map in the terms of a torch convolution, which pads both ends of an axis alike.

    Attributes:
        source: The map.
        size: Taps of the layer's kernel along each axis.
        padding: At each end of each axis.
        dilation: Distance of neighbouring taps.
        margins: Zero taps to put in front of the map's kernel, and behind it, along each axis;
            negative where zero taps are taken off.
        output_padding: Of a transposed convolution, along each axis; None for any other layer.
        is_same: Torch's padding="same" says what `padding` cannot: one place more behind.
    """

    source: LinearMap
    size: Axes
    padding: Axes
    dilation: Axes
    margins: tuple[tuple[int, int], ...]
    output_padding: Axes | None = None
    is_same: bool = False

    @property
    def weights(self) -> int:
        """Numbers in the layer's kernel; multiply-adds of one position.

        Of an output position; for a transposed convolution, of an input position.
        """
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
    axes = range(len(source.size))
    if source.up is not None:
        found = [settled_transposed_axis(source, axis, up) for axis, up in enumerate(source.up)]
        output_padding = tuple(axis[4] for axis in found)
        return Settled(source, *_of_axes([axis[:4] for axis in found]), output_padding)
    if all(step == 1 for step in source.stride):
        same = [_same_axis(source, axis) for axis in axes]
        if not all(same) and None not in same:
            plain = [_plain_axis(source, axis) for axis in axes]
            return Settled(source, *_of_axes(plain), is_same=True)
    return Settled(source, *_of_axes([_settled_axis(source, axis) for axis in axes]))


def _of_axes(axes: Any) -> tuple[Any, Any, Any, Any]:
    """Sizes, paddings, dilations and margins, from those of each axis."""
    size, padding, dilation, margins = zip(*axes, strict=True) if axes else ((), (), (), ())
    return size, padding, dilation, margins


def _same_axis(source: LinearMap, axis: int) -> bool | None:
    """Whether both ends of an axis are padded alike; None unless torch's "same" pads so."""
    length, before, behind = _tight(source, axis)
    if before + behind != length - 1 or before != (length - 1) // 2:
        return None
    return before == behind


def _tight(source: LinearMap, axis: int) -> tuple[int, int, int]:
    """(length, places read before the first, behind the last) of a kernel without zero ends."""
    used = [tap[axis] for tap in source.taps]
    length = max(used) - min(used) + 1
    before = -(source.offset[axis] + min(used))
    return length, before, source.extent[axis] + length - before


def _plain_axis(source: LinearMap, axis: int) -> tuple[int, int, int, tuple[int, int]]:
    """(size, padding, dilation, margins) along one axis, as it is."""
    used = sorted({tap[axis] for tap in source.taps})
    length, before, _ = _tight(source, axis)
    step = math.gcd(length - 1, *(tap - used[0] for tap in used)) or 1
    margins = (-used[0], -(source.size[axis] - 1 - used[-1]))
    return (length - 1) // step + 1, before, step, margins


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
    sizes: dict[str, Any] = {}
    kind: Any = nn.Linear
    if source.size:
        kind = _LAYERS[len(source.size)]
        sizes = {"kernel_size": settled.size, "padding": settled.padding,
                 "dilation": settled.dilation, "groups": source.groups}  # fmt: skip
        if source.up is not None:
            kind = TRANSPOSED[len(source.size)]
            sizes |= {"stride": source.up, "output_padding": settled.output_padding}
        else:
            sizes |= {"stride": source.stride, "padding_mode": source.beyond or "zeros"}
        if settled.is_same:
            sizes["padding"] = "same"
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
    weight, source = layer.get_parameter("weight"), settled.source
    if source.up is not None and source.groups > 1:
        weight.copy_(by_inputs(settled.rows(slice(0, source.outputs)), source.groups))
        return
    rows_first = weight if source.up is None else by_outputs(weight, 1)
    for rows in source.slices():
        rows_first[rows].copy_(settled.rows(rows))


def weight_by_outputs(layer: Any) -> Tensor:
    """A layer's weight, [outputs, inputs / groups, *size], whatever its kind."""
    weight: Tensor = layer.weight
    is_transposed = type(layer) in TRANSPOSED.values()
    return by_outputs(weight, layer.groups) if is_transposed else weight

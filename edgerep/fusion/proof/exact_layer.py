"""What a fused layer would compute if its numbers were not rounded, beside what it does compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.algebra.layer import TRANSPOSED, Settled, weight_by_outputs
from edgerep.fusion.algebra.linear_map import Axes, per_axis
from edgerep.fusion.algebra.transposed import by_inputs
from edgerep.fusion.proof.probes import random_image
from edgerep.torch_modules.float64 import float64_device
from edgerep.torch_modules.large_kernels import Columns, is_small

_CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
_SPREAD: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@torch.no_grad()
def fold_images(
    settled: Settled, layer: nn.Module, images: Sequence[Tensor], inner: Sequence[Tensor] = ()
) -> list[Tensor]:
    """What a layer would make of images if its numbers were not rounded, float64.

    The kernel is made once for all of them, a slice of its output channels at a time, each small
    enough to stay in a cache.

    Args:
        settled: Where the numbers come from.
        layer: That it was settled for; its own stride, padding, dilation and groups count.
        images: [N, inputs, *image] each, float64.
        inner: More of them, which are not padded.

    Returns:
        [N, outputs, *image] for each of `images`, then for each of `inner`.
    """
    applied = _applied(layer, images, inner)
    products: list[Any] = [applied.multiply(settled.rows(rows)) for rows in _slices(settled)]
    return _with_bias(applied.images(products), settled.bias(), len(settled.source.size))


@dataclass(frozen=True, eq=False)
class Probed:
    """What a fused layer makes of probe images, with its numbers rounded and not.

    Attributes:
        folded: What its unrounded numbers make of each probe image, float64.
        unrounded: The first output channels that they make of a random image as large as the
            kernel, which reads every weight of such a channel once; float64.
        rounded: The same channels of the same image, by the layer as it will be deployed.
    """

    folded: tuple[Tensor, ...]
    unrounded: Tensor
    rounded: Tensor


def probed(settled: Settled, layer: nn.Module, probes: Sequence[Tensor]) -> Probed:
    """What a fused layer makes of probe images.

    Args:
        settled: What the layer's numbers were rounded from.
        layer: The fused layer; read only.
        probes: [N, inputs, *image] each, float64.
    """
    return _folded_and_probed(settled, layer, (), probes)[1]


class ExactLayer(nn.Module):
    """A fused layer computed in float64, its numbers not rounded; it stands in for that layer.

    To make the kernel is most of the work, so the first call has it made for probe images as well.
    A pass of its own for the probes would add up to a sixth to the time of a certified fusion.

    Args:
        settled: What the layer's numbers were rounded from.
        layer: The fused layer; read only.
        probes: [N, inputs, *image] each, float64.
        tell: Is given what the first call found.
    """

    def __init__(
        self,
        settled: Settled,
        layer: nn.Module,
        probes: Sequence[Tensor],
        tell: Callable[[Probed], None],
    ) -> None:
        super().__init__()
        self._settled = settled
        self._layer = (layer,)  # not a child of this module
        self._probes = tuple(probes)
        self._tell = tell
        self._has_told = False

    def forward(self, x: Tensor) -> Tensor:
        # Each of its tensors has the type that it needs: nothing is to be widened in here.
        with torch._C.DisableTorchFunction():
            if self._has_told:
                return fold_images(self._settled, *self._layer, [x])[0]
            (folded,), found = _folded_and_probed(self._settled, *self._layer, [x], self._probes)
            self._tell(found)
            self._has_told = True
            return folded


@torch.no_grad()
def _folded_and_probed(
    settled: Settled, layer: nn.Module, images: Sequence[Tensor], probes: Sequence[Tensor]
) -> tuple[list[Tensor], Probed]:
    """What the unrounded numbers make of images, and of probes beside the layer itself."""
    weight, bias = weight_by_outputs(layer), layer.get_parameter("bias")
    patch = random_image(1, settled.source.inputs, _span(layer))
    wide = patch.to(float64_device(weight.device))
    *found, unrounded = fold_images(settled, layer, [*images, *probes], [wide])
    first = _slices(settled)[0]
    applied = _applied(layer, (), [patch.to(weight.device, weight.dtype)])
    products: list[Any] = [applied.multiply(weight[first])]
    (rounded,) = _with_bias(applied.images(products), bias[first], len(settled.source.size))
    folded = tuple(found[len(images) :])
    return found[: len(images)], Probed(folded, unrounded[:, first], rounded)


def _slices(settled: Settled) -> list[slice]:
    """The output channels that are worked on at a time.

    A group's kernels are small, and a slice could begin inside a group: all at once then.
    """
    source = settled.source
    return list(source.slices()) if source.groups == 1 else [slice(0, source.outputs)]


class _Calls:
    """What `Columns` does, for images of any rank and size: one call of torch for each.

    Args:
        layer: Whose options count, its padding apart.
        images: [N, inputs, *image] each.
        paddings: Of each image, none for one that is not to be padded.
    """

    def __init__(self, layer: Any, images: Sequence[Tensor], paddings: Sequence[Any]) -> None:
        self._layer = layer
        self._images = list(zip(images, paddings, strict=True))

    def multiply(self, kernel: Tensor) -> list[Tensor]:
        layer = self._layer
        if isinstance(layer, nn.Linear):
            return [functional.linear(x, kernel.to(x.device)) for x, _ in self._images]
        if _is_transposed(layer):
            return [self._spread(kernel.to(x.device), x, padding) for x, padding in self._images]
        convolve = _CONVOLVE[len(layer.stride)]
        return [
            convolve(
                x, kernel.to(x.device), stride=layer.stride, padding=padding,
                dilation=layer.dilation, groups=layer.groups,
            )
            for x, padding in self._images
        ]  # fmt: skip

    def _spread(self, kernel: Tensor, x: Tensor, padding: Any) -> Tensor:
        layer = self._layer
        output_padding = layer.output_padding if padding is not None else 0
        return _SPREAD[len(layer.stride)](
            x, by_inputs(kernel, layer.groups), stride=layer.stride, padding=padding or 0,
            output_padding=output_padding, dilation=layer.dilation, groups=layer.groups,
        )  # fmt: skip

    def images(self, products: Sequence[list[Tensor]]) -> list[Tensor]:
        axis = -1 if isinstance(self._layer, nn.Linear) else 1
        return [torch.cat(slices, axis) for slices in zip(*products, strict=True)]


def _applied(
    layer: Any, images: Sequence[Tensor], inner: Sequence[Tensor] = ()
) -> Columns | _Calls:
    """What multiplies slices of a kernel by images, the way that a layer would."""
    every = [*images, *inner]
    if isinstance(layer, nn.Linear):
        return _Calls(layer, every, [None] * len(every))
    if _is_transposed(layer):
        return _Calls(layer, every, [layer.padding] * len(images) + [None] * len(inner))
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        every = [*(_padded(layer, x) for x in images), *inner]
        return _Calls(layer, every, [0] * len(every))
    paddings = [layer.padding] * len(images) + [(0,) * len(layer.stride)] * len(inner)
    if all(is_small(x, layer.groups, layer.stride) for x in every):
        return Columns(every, layer.kernel_size, layer.stride, paddings, layer.dilation)
    return _Calls(layer, every, paddings)


def _is_transposed(layer: Any) -> bool:
    return type(layer) in TRANSPOSED.values()


def _padded(layer: Any, x: Tensor) -> Tensor:
    """An image as a layer pads it, with other numbers than zeros or unlike at both ends."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(x, layer._reversed_padding_repeated_twice, mode)


def _span(layer: Any) -> Axes:
    """Places along each axis that all of a layer's kernel is applied to at once, and once only."""
    if isinstance(layer, nn.Linear):
        return ()
    if _is_transposed(layer):
        return (1,) * len(layer.stride)
    return per_axis(lambda k, d: (k - 1) * d + 1, layer.kernel_size, layer.dilation)


def _with_bias(images: Sequence[Tensor], bias: Tensor, axes: int) -> list[Tensor]:
    return [image + bias.to(image.device).reshape(-1, *[1] * axes) for image in images]

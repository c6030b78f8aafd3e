"""What a fused layer would compute if its numbers were not rounded, beside what it does compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.algebra.layer import Settled, number_writer
from edgerep.fusion.algebra.linear_map import Axes, per_axis
from edgerep.fusion.proof.probes import random_image
from edgerep.torch_modules.float64 import float64_device
from edgerep.torch_modules.large_kernels import Columns, is_small

_CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}


@torch.no_grad()
def fold_images(
    settled: Settled,
    layer: nn.Module,
    images: Sequence[Tensor],
    inner: Sequence[Tensor] = (),
    take: Callable[[slice, Tensor], None] | None = None,
) -> list[Tensor]:
    """What a layer would make of images if its numbers were not rounded, float64.

    The kernel is made once for all of them, a slice of its output channels at a time, each small
    enough to stay in a cache.

    Args:
        settled: Where the numbers come from.
        layer: That it was settled for; its own stride, padding, dilation and groups count.
        images: [N, inputs, *image] each, float64.
        inner: More of them, which are not padded.
        take: Is shown every slice of the kernel.

    Returns:
        [N, outputs, *image] for each of `images`, then for each of `inner`.
    """
    source = settled.source
    applied = _applied(layer, images, inner)
    products: list[Any] = []
    # A group's kernels are small, and a slice could begin inside a group: all at once then.
    for rows in source.slices() if source.groups == 1 else [slice(0, source.outputs)]:
        kernel = settled.rows(rows)
        if take is not None:
            take(rows, kernel)
        products.append(applied.multiply(kernel))
    return _with_bias(applied.images(products), settled.bias(), len(source.size))


@dataclass(frozen=True, eq=False)
class Probed:
    """What a layer was seen to do while its numbers were written.

    Attributes:
        folded: What its unrounded numbers make of each probe image, float64.
        unrounded: The first output channels that they make of a random image as large as the
            kernel, which reads every weight of such a channel once.
        rounded: The same of the layer that will be deployed.
    """

    folded: tuple[Tensor, ...]
    unrounded: Tensor
    rounded: Tensor


@dataclass(slots=True)
class _Kept:
    """What a layer found out in a run whose other traces are undone (`state_kept`)."""

    value: Probed | None = None


class ExactLayer(nn.Module):
    """A settled map computed in float64, its numbers not rounded; one pass does all the work.

    At its first call it also writes its rounded numbers into the layer that will be deployed, and
    computes what both make of probe images.
    """

    def __init__(self, settled: Settled, probes: Sequence[Tensor], layer: nn.Module) -> None:
        super().__init__()
        self._settled = settled
        self._probes = tuple(probes)
        self._layer = [layer]  # not a child of this module
        self._kept = _Kept()

    def forward(self, x: Tensor) -> Tensor:
        # Each of its tensors has the type that it needs: nothing is to be widened in here.
        with torch._C.DisableTorchFunction():
            if self._kept.value is None:
                return self._first_call(x)[0]
            return fold_images(self._settled, self._layer[0], [x])[0]

    def probed(self) -> Probed:
        """What its numbers make of the probes; also where the network never called this layer."""
        if self._kept.value is None:
            self._first_call()
        assert self._kept.value is not None
        return self._kept.value

    @torch.no_grad()
    def _first_call(self, *images: Tensor) -> Sequence[Tensor]:
        (layer,), settled, probes = self._layer, self._settled, self._probes
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        patch = random_image(1, settled.source.inputs, _span(layer))
        applied = _applied(layer, (), [patch.to(weight.device, weight.dtype)])
        write = number_writer(settled, layer)
        products: list[Any] = []

        def take(rows: slice, kernel: Tensor) -> None:
            write(rows, kernel)
            if not products:
                products.append(applied.multiply(weight[rows]))

        wide = patch.to(float64_device(weight.device))
        *found, unrounded = fold_images(settled, layer, [*images, *probes], [wide], take)
        (rounded,) = applied.images(products)
        channels = slice(0, rounded.shape[1])
        (rounded,) = _with_bias([rounded], bias[channels], len(settled.source.size))
        self._kept.value = Probed(tuple(found[len(images) :]), unrounded[:, channels], rounded)
        return found


class _Calls:
    """The same as `Columns`, of images of any rank and size: one call of torch for each."""

    def __init__(self, layer: Any, images: Sequence[Tensor], paddings: Sequence[Any]) -> None:
        self._layer = layer
        self._images = list(zip(images, paddings, strict=True))

    def multiply(self, kernel: Tensor) -> list[Tensor]:
        layer = self._layer
        if isinstance(layer, nn.Linear):
            return [functional.linear(x, kernel.to(x.device)) for x, _ in self._images]
        convolve = _CONVOLVE[len(layer.stride)]
        return [
            convolve(
                x, kernel.to(x.device), stride=layer.stride, padding=padding,
                dilation=layer.dilation, groups=layer.groups,
            )
            for x, padding in self._images
        ]  # fmt: skip

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
    paddings = [layer.padding] * len(images) + [(0,) * len(layer.stride)] * len(inner)
    if all(is_small(x, layer.groups, layer.stride) for x in every):
        return Columns(every, layer.kernel_size, layer.stride, paddings, layer.dilation)
    return _Calls(layer, every, paddings)


def _span(layer: Any) -> Axes:
    """How many places a layer's kernel covers along each axis."""
    if isinstance(layer, nn.Linear):
        return ()
    return per_axis(lambda k, d: (k - 1) * d + 1, layer.kernel_size, layer.dilation)


def _with_bias(images: Sequence[Tensor], bias: Tensor, axes: int) -> list[Tensor]:
    return [image + bias.to(image.device).reshape(-1, *[1] * axes) for image in images]

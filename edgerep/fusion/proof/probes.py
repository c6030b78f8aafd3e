"""Probe images of a site, and what the site's own modules and functions make of them in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgerep.errors import FusionError
from edgerep.fusion.algebra.linear_map import LinearMap
from edgerep.fusion.operators.node_arguments import unrepeated
from edgerep.fusion.operators.operation import View, source_of
from edgerep.fusion.regions.placement import Placed
from edgerep.fusion.trace.graph_run import called
from edgerep.torch_modules.float64 import Float64Arithmetic, float64_device
from edgerep.torch_modules.shared_passes import SharedPasses
from edgerep.torch_modules.tree import part_at

_LARGE = 1e3  # magnitude of an impulse
_MOST_TAPS = 7  # along an axis, for all of which there is room in a probe image


@dataclass(frozen=True, eq=False)
class Truth:
    """Probe images of a site, and what its unfused nodes make of each, all float64."""

    probes: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def first_probes(placed: Placed, passes: SharedPasses) -> tuple[Tensor, ...]:
    """Probe images of a site, the smallest there are: at a border all goes wrong that can.

    `passes` is told which large kernels of the site will read them.
    """
    region, unit = placed.region, placed.unit
    probes = _probes(placed, *next(_sizes(placed)))
    for node in region.nodes:
        sources = [source_of(unit.findings.operations, source) for source in node.all_input_nodes]
        if node.op == "call_module" and region.base in sources:
            kernel = getattr(part_at(unit.view.module, str(node.target)), "weight", None)
            if isinstance(kernel, Tensor):
                for image in probes:
                    passes.expect(kernel, image)
    return probes


@torch.no_grad()
def probe(placed: Placed, first: tuple[Tensor, ...], passes: SharedPasses) -> Truth:
    """Probe images of a site, and what its own modules and functions make of them.

    This side shares nothing with the fold but the weights.

    Args:
        placed: The site.
        first: The images to try first; larger ones follow where they are too small for a layer.
        passes: Those that `first_probes` told.

    Raises:
        FusionError: The site runs on no size.
    """
    refusal: Exception | None = None
    _, *sizes = _sizes(placed)
    larger = (_probes(placed, *pair) for pair in sizes)
    for probes in itertools.chain([first], larger):
        try:
            return Truth(probes, tuple(_unfused(placed, x, passes) for x in probes))
        except RuntimeError as error:  # an image too small for a layer within
            refusal = error
    raise FusionError(f"{placed.site.name}: the unfused site cannot be run: {refusal}")


def _sizes(placed: Placed) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Of the random image and of the impulse, the smallest first."""
    settled = placed.site.settled
    source = settled.source
    # Gives one place along each axis; what is reflected is larger than its padding.
    least = [1 if source.beyond in (None, "zeros") else p + 1 for p in settled.padding]
    one = [max(p, -extent) for p, extent in zip(least, source.extent, strict=True)]
    if source.up is not None:
        one = [max(1, 1 - e // u) for e, u in zip(source.extent, source.up, strict=True)]
    all_taps = [_reading_all_taps(source, axis) for axis in range(len(source.size))]
    yield all_taps, one
    larger = [size + max(source.size, default=1) for size in all_taps]
    yield larger, larger
    shape = placed.unit.view.facts[placed.region.base].shape[2:]
    yield shape, shape


def _reading_all_taps(source: LinearMap, axis: int) -> int:
    """Places along an axis that give two, and of which each tap reads one if taps are few."""
    stride, extent = source.stride[axis], source.extent[axis]
    if source.up is not None:  # places whose kernels overlap, between two that reach the border
        return 2 * (source.size[axis] // source.up[axis]) + 2 - min(extent, 0)
    least = max(1, stride - extent)
    used = {source.offset[axis] + tap[axis] for tap in source.taps}
    if len(used) > _MOST_TAPS:
        return max(least, _MOST_TAPS // 2 + 1)
    behind = -(min(used) // stride) * stride - extent  # for the tap that reads furthest in front
    return max(least, behind, max(used) + 1)


def _probes(placed: Placed, image: Sequence[int], small: Sequence[int]) -> tuple[Tensor, ...]:
    """Two images [1, channels, *image]: random, and a large impulse in every channel.

    The second is random too, so that impulses of different channels cannot cancel. Hardly a place
    of either is so far from the border that a kernel reads no padding there.
    """
    channels = placed.site.settled.source.inputs
    middle: Any = (..., *(size // 2 for size in small))
    impulse = torch.zeros(1, channels, *small, dtype=torch.float64)
    impulse[middle] = random_image(1, channels, ()) * _LARGE
    device = float64_device(placed.unit.view.facts[placed.region.base].device)
    return random_image(0, channels, image).to(device), impulse.to(device)


def _unfused(placed: Placed, x: Tensor, passes: SharedPasses) -> Tensor:
    """What a region's nodes make of a value of its base, run one by one in float64."""
    region, view = placed.region, placed.unit.view
    values: dict[fx.Node, Any] = {region.base: x}

    def value_of(node: fx.Node) -> Any:
        source = source_of(placed.unit.findings.operations, node)
        return values[source] if source in values else view.constants.value(unrepeated(view, node))

    with Float64Arithmetic(passes):
        for node in region.nodes:
            given: Any = fx.map_arg((node.args, node.kwargs), value_of)
            args, kwargs = given
            if region.carried and node is region.last:
                values[node] = _carried(view, node, *args)
            else:
                values[node] = called(view.module, node, args, kwargs)
    result: Tensor = values[region.last]
    return result


def _carried(view: View, norm: fx.Node, vectors: Tensor) -> Tensor:
    """What a BatchNorm makes of vectors [N, C], in the layout that it asks for."""
    source: Any = norm.args[0]
    rank = len(view.facts[source].shape)
    image = vectors.reshape(*vectors.shape, *[1] * (rank - 2))
    result: Tensor = called(view.module, norm, (image,), {})
    return result.reshape(vectors.shape)


def random_image(seed: int, channels: int, image: Sequence[int]) -> Tensor:
    """[1, channels, *image] from N(0, 1): float64, and exact in float32 too."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, channels, *image, generator=generator).double()

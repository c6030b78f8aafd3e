"""Probe images of a site, and what the site's own modules and functions make of them in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgerep.building import Placed
from edgerep.errors import FusionError
from edgerep.float64 import Beside, Float64Arithmetic
from edgerep.graph_run import called
from edgerep.linear_map import float64_device
from edgerep.module_tree import part_at
from edgerep.operations import View
from edgerep.sites import source_of

_BORDER = 1e3  # how much larger the border of one probe is than its inside


@dataclass(frozen=True, eq=False)
class Probed:
    """Probe images of a site, and what its unfused nodes make of them, both float64."""

    probes: Tensor
    truth: Tensor


def first_probes(placed: Placed, beside: Beside) -> Tensor:
    """Probe images of a site, the smallest there are: at a border all goes wrong that can.

    `beside` is told which large kernels of the site will read them.
    """
    region, unit = placed.region, placed.unit
    probes = _probes(placed, next(_sizes(placed)))
    for node in region.nodes:
        sources = [source_of(unit.findings, source) for source in node.all_input_nodes]
        if node.op == "call_module" and region.base in sources:
            kernel = getattr(part_at(unit.view.module, str(node.target)), "weight", None)
            if isinstance(kernel, Tensor):
                beside.expect(kernel, probes)
    return probes


@torch.no_grad()
def probe(placed: Placed, first: Tensor, beside: Beside) -> Probed:
    """Probe images of a site, and what its own modules and functions make of them.

    This side shares nothing with the fold but the weights.

    Args:
        placed: The site.
        first: The images to try first; larger ones follow where they are too small for a layer.
        beside: What is known of their convolutions.

    Raises:
        FusionError: The site runs on no size.
    """
    refusal: Exception | None = None
    _, *sizes = _sizes(placed)
    larger = (_probes(placed, size) for size in sizes)
    for probes in itertools.chain([first], larger):
        try:
            return Probed(probes, _unfused(placed, probes, beside))
        except RuntimeError as error:  # an image too small for a layer within
            refusal = error
    raise FusionError(f"{placed.site.name}: the unfused site cannot be run: {refusal}")


def _sizes(placed: Placed) -> Iterator[tuple[int, ...]]:
    source = placed.site.settled.source
    least = [
        max(1, stride - extent) for stride, extent in zip(source.stride, source.extent, strict=True)
    ]  # gives two places along each axis
    yield tuple(least)
    yield tuple(size + max(source.size, default=1) for size in least)
    yield placed.unit.view.facts[placed.region.base].shape[2:]


def _probes(placed: Placed, image: Sequence[int]) -> Tensor:
    """[3, channels, *image]: random, an impulse in every channel, a border a thousand times larger.

    The second is random too, so that impulses of different channels cannot cancel.
    """
    channels = placed.site.settled.source.inputs
    generator = torch.Generator().manual_seed(0)
    random, impulse, border = torch.randn(
        3, channels, *image, generator=generator, dtype=torch.float64
    )
    middle: Any = (slice(None), *(size // 2 for size in image))
    alone = torch.zeros_like(impulse)
    alone[middle] = impulse[middle]
    for axis, size in enumerate(image, start=1):
        for end in (0, size - 1):
            border.select(axis, end).mul_(_BORDER)
    device = placed.unit.view.facts[placed.region.base].device
    return torch.stack([random, alone, border]).to(float64_device(device))


def _unfused(placed: Placed, x: Tensor, beside: Beside) -> Tensor:
    """What a region's nodes make of a value of its base, run one by one in float64."""
    region, view = placed.region, placed.unit.view
    values: dict[fx.Node, Any] = {region.base: x}

    def value_of(node: fx.Node) -> Any:
        source = source_of(placed.unit.findings, node)
        return values[source] if source in values else view.constants.value(node)

    with Float64Arithmetic(beside):
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

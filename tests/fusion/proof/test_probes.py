"""Probe images are small, and each tap of a kernel reads one of their places."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgerep.fusion.proof.probes import first_probes
from edgerep.fusion.regions.analysis import analyse
from edgerep.fusion.regions.placement import Placed, placed_sites
from edgerep.torch_modules.runs import observe
from edgerep.torch_modules.shared_passes import SharedPasses

LAYERS = {
    "3x3": (nn.Conv2d(4, 6, 3, padding=1), 2),
    "3x3, stride 2": (nn.Conv2d(4, 6, 3, stride=2, padding=1), 3),
    "3x3, no padding": (nn.Conv2d(4, 6, 3), 4),
    "3x3, dilated": (nn.Conv2d(4, 6, 3, padding=4, dilation=4), 5),
    "5x5": (nn.Conv2d(4, 6, 5, padding=2), 3),
    "7x7, stride 4": (nn.Conv2d(4, 6, 7, stride=4, padding=3), 5),
    "1x1": (nn.Conv2d(4, 6, 1), 2),
    "13x13": (nn.Conv2d(6, 6, 13, padding=6, groups=6), 4),
}


def placed_in(network: nn.Module, size: int) -> Placed:
    inputs = [torch.randn(2, next(network.parameters()).shape[1], size, size)]
    (placed,) = placed_sites(analyse(network, [observe(network, inputs)]))
    return placed


@pytest.mark.parametrize("name", LAYERS)
def test_the_random_image_is_as_small_as_reading_all_taps_allows(name: str) -> None:
    layer, side = LAYERS[name]
    network = nn.Sequential(layer, nn.BatchNorm2d(6)).eval()
    if layer.groups > 1:
        network = nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), *network).eval()
    random, impulse = first_probes(placed_in(network, 20), SharedPasses())
    assert random.shape[2:] == (side, side)
    assert (impulse != 0).sum() == impulse.shape[1]
    if name == "13x13":
        return
    for tap in range(layer.weight[0, 0].numel()):
        only = torch.zeros_like(layer.weight)
        only.view(*only.shape[:2], -1)[..., tap] = layer.weight.detach().flatten(2)[..., tap]
        assert read(layer, only, random).any(), f"tap {tap} reads nothing but padding"


def read(layer: nn.Conv2d, weight: Tensor, image: Tensor) -> Tensor:
    return torch.conv2d(
        image, weight.double(), None, layer.stride, layer.padding, layer.dilation, layer.groups
    )

"""A float64 run that is not the network is told from a network that multiplies roundoff."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgerep.bench.parity.references.network import Reference
from edgerep.errors import FusionError, NetworkError
from edgerep.fusion.fused import fuse
from edgerep.torch_modules.float64_check import fault_of_float64


class Bits(nn.Module):
    """Reads the bits of a float32, which Float64Arithmetic cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        bits = (y.contiguous().view(torch.int32) >> 23)[..., : y.shape[-1]].to(y.dtype)
        return y + bits


class ByType(nn.Module):
    """Does something else for tensors of another type."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y * 2 if isinstance(y, torch.FloatTensor) else y


class Chaotic(nn.Module):
    """The logistic map: every step doubles what was off."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.sigmoid()
        for _ in range(40):
            y = 3.99 * y * (1 - y)
        return y


class Choosing(nn.Module):
    """Puts numbers in order, some of which differ by less than roundoff."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(50, 2000)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        y = torch.cat([y, y * (1 + 1e-8) + 1e-8], 1)
        return y.topk(200, 1).indices.to(y.dtype)


def test_bits_read_as_another_type_are_found_and_the_call_is_named() -> None:
    torch.manual_seed(0)
    fault = fault_of_float64(Bits().eval(), [torch.randn(2, 3, 8, 8)])
    assert fault is not None
    assert "test_float64_check.py:" in fault


def test_another_way_by_the_type_is_found() -> None:
    torch.manual_seed(0)
    fault = fault_of_float64(ByType().eval(), [torch.randn(2, 3, 8, 8)])
    assert fault is not None


@pytest.mark.parametrize(
    ("network", "shape"), [(Chaotic(), (2, 5)), (Choosing(), (2, 50)), (nn.Linear(5, 5), (2, 5))]
)
def test_a_network_that_multiplies_roundoff_is_no_fault(
    network: nn.Module, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    assert fault_of_float64(network.eval(), [torch.randn(shape)]) is None


def test_nothing_is_compared_with_a_reference_that_failed() -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8))
    with pytest.raises(NetworkError, match="float64 run of Bits is not the network"):
        Reference(Bits().eval()).answers([images])


def test_nothing_is_certified_by_a_reference_that_failed() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Bits()).eval()
    with pytest.raises(FusionError, match="is not the network") as refused:
        fuse(net, inputs=torch.randn(2, 3, 8, 8))
    assert "chaotic" not in str(refused.value)

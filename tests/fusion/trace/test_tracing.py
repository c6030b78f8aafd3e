"""Tensors that code makes while it runs: of numbers, of buffers, or at random."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.errors import NetworkError
from edgerep.fusion.fused import fuse
from edgerep.fusion.proof.certificate import Certificate
from zoo.hazards import FrozenBatchNorm


class Normalising(nn.Module):
    """Pixels are normalised by numbers in the code, and clipped by others behind the network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.scales = torch.full((4, 1, 1), 1.5)  # no buffer: it follows neither type nor device

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
        x = (x - mean.view(3, 1, 1)) / deviation.view(1, 3, 1, 1)
        y = functional.relu(self.bn(self.conv(x)) * self.scales)
        return torch.minimum(y, torch.tensor([[[1.0]], [[2.0]], [[float("inf")]], [[4.0]]]))


class Framed(nn.Module):
    """Two branches, written into tensors whose sizes the code takes from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.narrow = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x) + self.narrow(x)
        batch, channels, height, width = y.shape
        framed = torch.zeros(batch, channels, height + 2, width + 2)
        framed[:, :, 1:-1, 1:-1] = y
        rows = torch.ones(size=(batch, channels, 1, width + 2)) * torch.full((channels, 1, 1), 0.5)
        return torch.cat([framed, rows, torch.empty(batch, channels, 0, width + 2)], 2)


class Noisy(nn.Module):
    """A BatchNorm that folds, and noise that is far below what two runs may differ by."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) + 1e-7 * torch.randn(4, 1, 1)
        return y


class Gated(nn.Module):
    """Asks a buffer which way to go, and uses what it makes of another."""

    weight: Tensor
    flag: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("weight", torch.linspace(1, 2, 4))
        self.register_buffer("flag", torch.tensor(True))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y * (self.weight + 1).view(-1, 1, 1) if self.flag else y


@torch.no_grad()
def fused(network: nn.Module) -> tuple[nn.Module, Certificate]:
    network.eval()
    torch.manual_seed(0)
    result = fuse(network, inputs=torch.randn(2, 3, 8, 8))
    for shape in ((2, 3, 8, 8), (1, 3, 9, 7)):
        x = torch.randn(shape)
        assert torch.allclose(result.module(x), network(x), rtol=1e-5, atol=1e-5)
    assert result.certificate is not None
    return result.module, result.certificate


def test_a_batchnorm_of_buffers_is_folded() -> None:
    module, certificate = fused(nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm(4), nn.ReLU()))
    assert list(module.state_dict()) == ["0.weight", "0.bias"]
    assert certificate.left_unfused == ()
    weight = module.half().get_parameter("0.weight")  # nothing of float32 is left in the code
    assert module(torch.randn(1, 3, 8, 8).half()).dtype == weight.dtype == torch.float16


def test_numbers_in_the_code_are_folded_and_kept() -> None:
    module, certificate = fused(Normalising())
    assert [block.batchnorms for block in certificate.blocks] == [1]
    assert len(module.state_dict()) == 2
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    again = torch.load(stream, weights_only=False)  # written three lines above
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(again(x), module(x))


def test_random_numbers_are_not_frozen() -> None:
    with pytest.raises(NetworkError, match="draws random numbers"):
        fused(Noisy())


def test_a_buffer_may_still_be_asked() -> None:
    fused(Gated())


def test_branches_are_merged_before_tensors_whose_sizes_come_from_the_input() -> None:
    network = Framed().eval()
    images = torch.randn(2, 3, 6, 5)
    before = torch.zeros
    fused = fuse(network, inputs=images)
    assert torch.zeros is before
    assert sum(isinstance(part, nn.Conv2d) for part in fused.module.modules()) == 1
    for x in (images, torch.randn(3, 3, 9, 8)):
        torch.testing.assert_close(fused.module(x), network(x), rtol=1e-5, atol=1e-5)

"""Modules that only torch.export can record: their maps, and what must not be frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.algebra.layer import empty_layer, settle, write_numbers
from edgerep.fusion.algebra.linear_map import LinearMap
from edgerep.fusion.fused import fuse
from edgerep.fusion.operators.untraceable import exported_map


class Untraceable(nn.Module):
    """A convolution of what a function makes of the image."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.change(x))
        return y


class Bordered(nn.Module):
    """A BatchNorm, a border of `by` times its constant, `width` wide, and a convolution."""

    def __init__(self, by: float, width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 4, 3)
        self.by = by
        self.width = width
        for tensor in (self.bn.bias, self.bn.running_mean):
            assert tensor is not None
            tensor.detach().normal_()

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.bn.running_mean, self.bn.running_var
        assert mean is not None
        assert variance is not None
        scale = self.bn.weight / torch.sqrt(variance + self.bn.eps)
        value = self.by * (self.bn.bias - mean * scale).reshape(1, -1, 1, 1)
        y = functional.pad(self.bn(x), (1, 1, 1, 1))
        y[:, :, : self.width] = value
        y[:, :, -self.width :] = value
        y[:, :, :, :1] = value
        y[:, :, :, -1:] = value
        z: Tensor = self.conv(y)
        return z


def made_even(x: Tensor) -> Tensor:
    return functional.pad(x, (0, 0, 0, 1)) if x.shape[2] % 2 else x


SIZED: dict[str, Callable[[Tensor], Tensor]] = {
    "odd heights are padded": made_even,
    "large images are doubled": lambda x: x * 2 if x.size(2) > 100 else x,
    "batches are doubled": lambda x: x * 2 if len(x) > 2 else x,
    "many numbers are doubled": lambda x: x * 2 if (x + 1).numel() > 10_000 else x,
}


@torch.no_grad()
def assert_computes(found: LinearMap, module: nn.Module) -> None:
    """The map, as a layer, gives what the module does at sizes that it was not exported at."""
    layer = empty_layer(settle(found), torch.empty(0, dtype=torch.float64))
    write_numbers(settle(found), layer)
    for size in ((9, 8), (8, 9), (5, 12)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        assert torch.allclose(layer(x), module(x), rtol=0, atol=1e-12)


def test_a_border_of_the_constant_before_it_is_a_padding() -> None:
    module = Bordered(by=1, width=1).eval().double()
    found = exported_map(module, [torch.randn(2, 3, 8, 9, dtype=torch.float64)])
    assert found is not None
    assert (found.size, found.offset, found.extent) == ((3, 3), (-1, -1), (-1, -1))
    assert_computes(found, module)


@pytest.mark.parametrize(("by", "width"), [(1.001, 1), (0, 1), (1, 2)])
def test_another_border_is_none(by: float, width: int) -> None:
    module = Bordered(by, width).eval().double()
    assert exported_map(module, [torch.randn(2, 3, 8, 9, dtype=torch.float64)]) is None


@pytest.mark.parametrize("change", SIZED.values(), ids=SIZED)
def test_what_depends_on_the_size_is_not_frozen(change: Callable[[Tensor], Tensor]) -> None:
    module = Untraceable(change).eval()
    assert exported_map(module, [torch.randn(2, 3, 8, 8)]) is None


@pytest.mark.parametrize("change", SIZED.values(), ids=SIZED)
def test_fused_networks_keep_what_depends_on_the_size(
    change: Callable[[Tensor], Tensor],
) -> None:
    network = nn.Sequential(Untraceable(change), nn.BatchNorm2d(4)).eval().double()
    network.get_parameter("1.bias").data.normal_()
    traced = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    fused = fuse(network, inputs=traced).module
    with torch.no_grad():
        for shape in ((2, 3, 8, 8), (1, 3, 9, 7), (3, 3, 9, 9), (1, 3, 102, 60)):
            x = torch.randn(shape, dtype=torch.float64)
            assert torch.allclose(fused(x), network(x), rtol=0, atol=1e-12)


def test_sizes_of_weights_may_be_asked_for() -> None:
    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return functional.conv2d(x, self.weight, None, 1, self.weight.shape[2] // 2)

    found = exported_map(Same(), [torch.randn(1, 3, 8, 8)])
    assert found is not None
    assert found.size == (3, 3)


def test_the_map_computes_what_the_module_does() -> None:
    class Skewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.b = nn.Conv2d(3, 4, 1, stride=2)
            self.bn = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.bn(self.a(x)) - 2 * self.b(x) + 1
            return y

    module = Skewed().eval().double()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name in ("bn.running_mean", "bn.bias"):
                tensor.normal_()
    found = exported_map(module, [torch.randn(1, 3, 9, 8, dtype=torch.float64)])
    assert found is not None
    assert found.words == ("3x3", "1x1")
    assert_computes(found, module)


def test_what_cannot_be_read_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    image = torch.randn(2, 3, 8, 8)
    data = Untraceable(lambda x: x * 2 if x.sum() > 0 else x).eval()
    assert exported_map(data, [image]) is None
    assert capfd.readouterr() == ("", "")  # nor does torch.export tell the user what it was given
    assert exported_map(nn.ReLU(), [image]) is None
    assert exported_map(nn.Bilinear(3, 3, 4), [image, image]) is None

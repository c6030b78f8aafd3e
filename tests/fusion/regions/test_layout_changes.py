"""A BatchNorm goes into the linear layer before it across a change of layout, where it may."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

from edgerep.fusion.fused import fuse
from zoo.counting import count_calls
from zoo.randomising import randomise

C = 6


class Vectors(nn.Module):
    """A linear layer on [N, H, W, C], then code that leads to a BatchNorm and on."""

    def __init__(self, norm: nn.Module, then: Callable[[Vectors, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, C, 1)
        self.linear = nn.Linear(C, C, bias=False)
        self.norm = norm
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x)).permute(0, 2, 3, 1)
        return self.then(self, self.linear(x))


def with_flatten(net: Vectors, y: Tensor) -> Tensor:
    """LeViT's."""
    flat: Tensor = net.norm(y.flatten(0, 2)).reshape_as(y)
    return flat


def with_permute(net: Vectors, y: Tensor) -> Tensor:
    """UniRepLKNet's."""
    image: Tensor = net.norm(y.permute(0, 3, 1, 2))
    return image.relu()


def with_transposes(net: Vectors, y: Tensor) -> Tensor:
    image: Tensor = net.norm(torch.transpose(y, 1, -1).contiguous())
    return image


def with_tokens(net: Vectors, y: Tensor) -> Tensor:
    count = y.shape[1] * y.shape[2]
    tokens: Tensor = net.norm(y.flatten(1, 2).transpose(1, 2))
    return tokens / count


def of_another_axis(net: Vectors, y: Tensor) -> Tensor:
    """The BatchNorm's channels are the image's rows, of which there happen to be as many."""
    rows: Tensor = net.norm(y.permute(0, 1, 3, 2))
    return rows


def read_twice(net: Vectors, y: Tensor) -> Tensor:
    image = y.permute(0, 3, 1, 2)
    normed: Tensor = net.norm(image)
    return normed + image.relu()


def called_twice(net: Vectors, y: Tensor) -> Tensor:
    first: Tensor = net.norm(y.permute(0, 3, 1, 2))
    again: Tensor = net.norm(net.linear(first.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    return again


def scaled_between(net: Vectors, y: Tensor) -> Tensor:
    image: Tensor = net.norm(y.permute(0, 3, 1, 2).abs())
    return image


Case: TypeAlias = tuple[Callable[[], nn.Module], Callable[[Vectors, Tensor], Tensor]]
FOLDED: dict[str, Case] = {
    "flatten": (lambda: nn.BatchNorm1d(C), with_flatten),
    "permute": (lambda: nn.BatchNorm2d(C), with_permute),
    "transpose": (lambda: nn.BatchNorm2d(C), with_transposes),
    "tokens": (lambda: nn.BatchNorm1d(C), with_tokens),
    "no affine": (lambda: nn.BatchNorm2d(C, affine=False), with_permute),
}
LEFT: dict[str, Case] = {
    "another axis": (lambda: nn.BatchNorm2d(C), of_another_axis),
    "read twice": (lambda: nn.BatchNorm2d(C), read_twice),
    "called twice": (lambda: nn.BatchNorm2d(C), called_twice),
    "a function between": (lambda: nn.BatchNorm2d(C), scaled_between),
    "no statistics": (lambda: nn.BatchNorm2d(C, track_running_stats=False), with_permute),
}


def checked(model: nn.Module, *sizes: tuple[int, int]) -> nn.Module:
    """The fused network, which gives the same at every size."""
    images = [torch.randn(2, 3, *size, dtype=torch.float64) for size in sizes]
    model = randomise(model, 0, (images[0].float(),)).double()
    fused = fuse(model, inputs=images[0]).module
    with torch.no_grad():
        for image in images:
            assert torch.allclose(fused(image), model(image), rtol=1e-12, atol=1e-12)
    return fused


@pytest.mark.parametrize("name", FOLDED)
def test_it_goes_into_the_layer(name: str) -> None:
    norm, then = FOLDED[name]
    fused = checked(Vectors(norm(), then), (8, 6), (5, 9))
    assert count_calls(fused, torch.randn(1, 3, 8, 8, dtype=torch.float64)).bn == 0
    assert isinstance(fused.get_submodule("norm"), nn.Identity)
    for twin in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        image = torch.randn(1, 3, 7, 7, dtype=torch.float64)
        assert torch.equal(twin(image), fused(image))


@pytest.mark.parametrize("name", LEFT)
def test_it_stays_where_it_may_not(name: str) -> None:
    norm, then = LEFT[name]
    sizes = ((6, 6), (6, 5)) if name == "another axis" else ((8, 6), (5, 9))
    fused = checked(Vectors(norm(), then), *sizes)
    assert isinstance(fused.get_submodule("norm"), nn.BatchNorm2d)


def test_a_batchnorm_of_the_input_itself_is_none_of_these() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1))
    assert isinstance(checked(model, (6, 7), (5, 5)).get_submodule("0"), nn.BatchNorm2d)

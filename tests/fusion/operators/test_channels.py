"""Parts of the channels and concatenations: what becomes one layer, and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgerep.fusion.fused import fuse

C = 8
Code = Callable[[Any, Tensor], Tensor]


def conv(inputs: int, outputs: int, size: int = 1, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


class Coded(nn.Module):
    def __init__(self, code: Code, *layers: nn.Module) -> None:
        super().__init__()
        self.code = code
        self.a, self.b, self.c = (*layers, nn.Identity(), nn.Identity())[:3]

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self, x)


def partly(m: Any, x: Tensor) -> Tensor:
    """PlainUSR's: one channel is made of all, the others stay."""
    x = m.a(x)
    return torch.cat([m.b(x), x[:, 1:].clone()], dim=1)


def halves(m: Any, x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return torch.cat((m.a(first), m.b(second)), 1)


def by_sizes(m: Any, x: Any) -> Tensor:
    first, second = torch.functional.split(x, [4, 4], 1)
    return torch.cat([m.a(first), m.b(second)], 1)


def by_size(m: Any, x: Any) -> Tensor:
    first, second = x.split(4, dim=1)
    return torch.cat([m.a(first), m.b(second)], 1)


def written(m: Any, x: Tensor) -> Tensor:
    first = m.a(x[:, :4])
    x = x.mul_(2)
    return torch.cat([first, m.b(x[:, 4:])], 1)


def read_elsewhere(m: Any, x: Tensor) -> Tensor:
    y: Tensor = m.a(x)
    joined = torch.cat([y, m.b(x)], 1)
    return joined.relu() + y.mean()


def same_twice(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.a(x), m.a(x)], 1)


def unlike(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.a(x), m.b(x)], 1)


FOLDED: dict[str, tuple[Code, tuple[nn.Module, ...]]] = {
    "heads of one image": (unlike, (conv(C, 4, 3), conv(C, 1, 3))),
    "heads with a stride": (unlike, (conv(C, 4, 3, stride=2), conv(C, 1, 3, stride=2))),
    "heads and a BatchNorm": (
        lambda m, x: m.c(unlike(m, x)), (conv(C, 4, 3), conv(C, 4, 3), nn.BatchNorm2d(C)),
    ),
    "heads and a layer of all": (
        lambda m, x: m.c(unlike(m, x)), (conv(C, C, 3), conv(C, C, 3), conv(2 * C, 4)),
    ),
    "axis from the end": (
        lambda m, x: torch.concat((m.a(x), m.b(x)), dim=-3), (conv(C, 4), conv(C, 3)),
    ),
    "a part of what a layer gives": (partly, (conv(C, C, 3), conv(C, 1))),
    "halves": (halves, (conv(4, 2, 3), conv(4, 2, 3))),
    "a part that is split off": (by_sizes, (conv(4, 2), conv(4, 2))),
    "parts of one size": (by_size, (conv(4, 2), conv(4, 2))),
    "some of what a layer gives": (
        lambda m, x: m.b(m.a(x).narrow(1, 2, 3)), (conv(C, C, 3), conv(3, 2)),
    ),
    "one layer twice": (same_twice, (conv(C, 4),)),
}  # fmt: skip
LEFT: dict[str, tuple[Code, tuple[nn.Module, ...]]] = {
    "kernels of unlike size": (unlike, (conv(C, 4, 3), conv(C, 4))),
    "along the rows": (
        lambda m, x: torch.cat([m.a(x), m.b(x)], 2), (conv(C, C, 3), conv(C, C, 3)),
    ),
    "read elsewhere": (read_elsewhere, (conv(C, 4), conv(C, 4))),
    "written between": (lambda m, x: written(m, m.c(x)), (conv(4, 4), conv(4, 4), nn.ReLU())),
    "a partial convolution, then all": (
        lambda m, x: m.b(torch.cat([m.a(x[:, :2]), x[:, 2:]], 1)), (conv(2, 2, 3), conv(C, C)),
    ),
}  # fmt: skip


@torch.no_grad()
def convolutions_left(code: Code, layers: tuple[nn.Module, ...]) -> int:
    network = Coded(code, *layers).eval().double()
    x = torch.randn(2, C, 9, 10, dtype=torch.float64)
    fused = fuse(network, inputs=x)
    for shape in (x.shape, (1, C, 12, 7)):
        x = torch.randn(shape, dtype=torch.float64)
        found, wanted = fused.module(x.clone()), network(x.clone())
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    assert fused.certificate is not None
    return fused.certificate.convolutions_after


@pytest.mark.parametrize("name", FOLDED)
def test_maps_of_one_image_side_by_side_are_one_layer(name: str) -> None:
    assert convolutions_left(*FOLDED[name]) == 1


@pytest.mark.parametrize("name", LEFT)
def test_what_costs_more_or_is_no_map_stays(name: str) -> None:
    assert convolutions_left(*LEFT[name]) == 2


@torch.no_grad()
def test_halves_become_groups() -> None:
    network = Coded(halves, conv(4, 2, 3), conv(4, 2, 3)).eval()
    module = fuse(network, inputs=torch.randn(1, C, 6, 6)).module
    assert isinstance(module, nn.Conv2d)
    assert module.groups == 2

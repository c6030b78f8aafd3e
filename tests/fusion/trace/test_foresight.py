"""What code decides by while it is recorded: what is the same at every size, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.fused import Fused, fuse

Decide: TypeAlias = Callable[[Any, Tensor, Tensor], Tensor]
SHAPES = ((2, 3, 8, 8), (1, 3, 9, 7), (3, 3, 40, 40))


class Deciding(nn.Module):
    """Two branches and their sum, in code that decides by something."""

    scale: Tensor

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.alpha = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 4.0]))
        self.decide = decide

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x) + self.b(x)
        return functional.relu(self.decide(self, x, y))


@torch.no_grad()
def fused(network: nn.Module) -> Fused:
    network = network.double().eval()
    result = fuse(network, inputs=torch.randn(2, 3, 8, 8, dtype=torch.float64))
    for shape in SHAPES:
        x = torch.randn(shape, dtype=torch.float64)
        assert torch.allclose(result.module(x), network(x), rtol=0, atol=1e-12)
    return result


def same_channels(m: Any, x: Tensor, y: Tensor) -> Tensor:
    return y + x if x.shape[1] == y.shape[1] else y


def same_shape(m: Any, x: Tensor, y: Tensor) -> Tensor:
    return y + x if x.shape == y.shape else y


def sizes_of_weights(m: Any, x: Tensor, y: Tensor) -> Tensor:
    kernel = m.a.weight
    return y + x if kernel.shape[2] == 3 and kernel.size(0) == 3 and len(kernel) == 3 else y


def numbers_of_weights(m: Any, x: Tensor, y: Tensor) -> Tensor:
    alpha = m.alpha
    return y + x * alpha if alpha > 1 else y


def number_taken_out(m: Any, x: Tensor, y: Tensor) -> Tensor:
    return torch.add(y, x * float(m.alpha) * m.alpha.item())


ASSERTED = "def asserted(m, x, y):\n    assert x.shape[2] < 1000\n    return y + x\n"
SPACE: dict[str, Any] = {}
exec(compile(ASSERTED, "asserted.py", "exec"), SPACE)  # pytest would make an `if` of it
asserted: Decide = SPACE["asserted"]


def looped(m: Any, x: Tensor, y: Tensor) -> Tensor:
    parts = [part * 2 for part in y.chunk(3, 1)]
    return torch.cat([*parts, *torch.split(x, 1, 1)], 1)


FOLLOWED = (same_channels, same_shape, sizes_of_weights, numbers_of_weights, number_taken_out,
            asserted, looped)  # fmt: skip


@pytest.mark.parametrize("decide", FOLLOWED, ids=[f.__name__ for f in FOLLOWED])
def test_what_is_the_same_at_every_size_may_be_decided_by(
    decide: Decide,
) -> None:
    certificate = fused(Deciding(decide)).certificate
    assert certificate is not None
    assert certificate.convolutions_after == 1
    assert certificate.left_unfused == ()


def by_height(m: Any, x: Tensor, y: Tensor) -> Tensor:
    return y * 2 if x.shape[2] > 30 else y


def by_oddness(m: Any, x: Tensor, y: Tensor) -> Tensor:
    return y * 2 if x.shape[2] % 2 else y


def by_batch(m: Any, x: Tensor, y: Tensor) -> Tensor:
    return y * 2 if len(x) == 1 else y


def by_numbers(m: Any, x: Tensor, y: Tensor) -> Tensor:
    return y * 2 if x.mean() > 0 else y


NOT_FOLLOWED: dict[Decide, str] = {
    by_height: "decides by the size of its input",
    by_oddness: "decides by the size of its input",
    by_batch: "decides by the size of its input",
    by_numbers: "decides by the numbers of a tensor",
}


@pytest.mark.parametrize("decide", NOT_FOLLOWED, ids=[f.__name__ for f in NOT_FOLLOWED])
def test_what_differs_is_left_as_it_is_and_said_with_its_line(
    decide: Decide,
) -> None:
    certificate = fused(Deciding(decide)).certificate
    assert certificate is not None
    ((name, why),) = certificate.left_unfused
    line = decide.__code__.co_firstlineno + 1
    assert name == "Deciding"
    assert NOT_FOLLOWED[decide] in why
    assert f"{__file__.rpartition('/')[2]}:{line}" in why


def test_an_assertion_keeps_being_one() -> None:
    module = fused(Deciding(asserted)).module
    with pytest.raises(ValueError, match=r"asserted.py:2 decides by the size"):
        module(torch.randn(1, 3, 1000, 4, dtype=torch.float64))

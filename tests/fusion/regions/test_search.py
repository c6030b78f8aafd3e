"""What is folded and what is not: writes in place, readers, costs, and which region wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.fused import fuse
from edgerep.fusion.proof.certificate import Certificate

C = 4


class Parts(nn.Module):
    """Layers, and code that uses them on the output of a stem."""

    def __init__(self, code: Callable[[Any, Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, C, 1)
        self.a = nn.Conv2d(C, C, 3, padding=1)
        self.b = nn.Conv2d(C, C, 1)
        self.bn = nn.BatchNorm2d(C)
        for name, part in parts.items():
            self.add_module(name, part)
        self.code = code

    def forward(self, x: Tensor) -> Any:
        return self.code(self, functional.relu(self.stem(x)))


class Marking(nn.Module):
    """Writes to what it is given, and cannot be recorded."""

    def forward(self, x: Tensor) -> Tensor:
        x[:, :, 0] = 5
        return x.mean()


class Doubling(nn.Module):
    """Writes to what it is given; recorded, the same without the write."""

    def forward(self, x: Tensor) -> Tensor:
        x *= 2
        return x + 1


@torch.no_grad()
def fused(code: Callable[[Any, Tensor], Any], **parts: nn.Module) -> Certificate:
    """Fuse a network, see that it gives the same at three sizes, and tell what was folded."""
    torch.manual_seed(0)
    network = Parts(code, **parts).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                assert tensor is not None
                tensor.normal_()
    first = torch.randn(2, 3, 8, 7, dtype=torch.float64)
    result = fuse(network, inputs=first.clone())
    plain = fuse(network, inputs=first.clone(), certify=False).module
    for shape in (first.shape, (1, 3, 7, 8), (3, 3, 9, 9)):
        x = torch.randn(shape, dtype=torch.float64)
        wanted = network(x.clone())
        for module in (result.module, plain):
            found = module(x.clone())
            pairs = (
                zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
            )
            assert all(torch.allclose(f, w, rtol=0, atol=1e-12) for f, w in pairs)
    assert result.certificate is not None
    return result.certificate


def clone_before(m: Any, x: Tensor) -> Tensor:
    c = x.clone()
    x.mul_(2)
    y: Tensor = m.a(c) + m.b(x)
    return y


def clone_changed(m: Any, x: Tensor) -> Tensor:
    c = x.clone()
    c.mul_(2)
    y: Tensor = m.a(c) + m.b(x)
    return y


def out(m: Any, x: Tensor) -> Tensor:
    a = m.a(x)
    torch.add(x, x, out=x)
    y: Tensor = a + m.b(x)
    return y


def alias_of_relu(m: Any, x: Tensor) -> Tensor:
    y = torch.relu_(x)
    a = m.a(y)
    x.mul_(2)
    z: Tensor = a + m.b(y)
    return z


def expanded(m: Any, x: Tensor) -> Tensor:
    a = m.a(x)
    x.expand(x.shape).mul_(2)
    y: Tensor = a + m.b(x)
    return y


def unbound(m: Any, x: Tensor) -> Tensor:
    a = m.a(x)
    x.unbind(0)[0].mul_(2)
    y: Tensor = a + m.b(x)
    return y


def by_position(m: Any, x: Tensor) -> Tensor:
    a = m.a(x)
    functional.hardtanh(x, -0.1, 0.1, True)
    y: Tensor = a + m.b(x)
    return y


def opaque(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    a, mean = m.a(x), m.mark(x)
    return a + m.b(x), mean


WRITES = {
    f.__name__: f
    for f in (clone_before, clone_changed, out, alias_of_relu, expanded, unbound, by_position,
              opaque)
}  # fmt: skip


@pytest.mark.parametrize("code", WRITES.values(), ids=WRITES)
def test_branches_that_read_different_numbers_are_not_summed(
    code: Callable[[Any, Tensor], Any],
) -> None:
    assert not [block for block in fused(code, mark=Marking()).blocks if block.branches > 1]


def test_a_child_that_writes_to_its_argument_keeps_doing_so() -> None:
    """Recorded, it gives the same answer, but what it was given would stay as it was."""

    def code(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        n = m.twice(m.a(x))
        x.data[0, 0, 0, 0] = n.mean()  # nothing of this code can be recorded
        return n, m.b(m.twice(x)) + x

    fused(code, twice=Doubling())


def test_a_batchnorm_before_a_written_base_does_not_move_behind_the_write() -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        y = m.bn(x)
        x.mul_(2)
        z: Tensor = m.b(y) + x.sigmoid()
        return z

    (block,) = fused(code).blocks
    assert block.batchnorms == 1


def test_a_write_before_both_reads_is_none_between_them() -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        x.mul_(2)
        y = m.a(x) + m.b(x)
        x.mul_(2)
        z: Tensor = functional.relu(y) + x
        return z

    assert [block.branches for block in fused(code).blocks] == [2]


def test_copies_of_what_nobody_writes_to_are_the_same() -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.a(x.clone()) + m.b(x.contiguous()) + x.detach()
        return y

    assert [block.kind for block in fused(code).blocks] == ["3x3 + 1x1 + identity"]


def test_a_value_that_is_read_outside_stays() -> None:
    def code(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        a = m.a(x)
        return a + m.b(x), a

    certificate = fused(code)
    assert certificate.blocks == ()
    assert any("something else reads a value" in why for _, why in certificate.left_unfused)


def test_a_batchnorm_goes_into_the_layer_before_it() -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.c(m.bn(m.b(x)))
        return y

    blocks = fused(code, c=nn.Conv2d(C, 16, 3, padding=1)).blocks
    assert [(block.name, block.batchnorms) for block in blocks] == [("b", 1)]


def test_more_work_is_refused() -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.wide(m.narrow(x))
        return y

    certificate = fused(code, narrow=nn.Conv2d(C, 1, 1), wide=nn.Conv2d(1, C, 1))
    assert certificate.blocks == ()


def test_an_unused_sum_does_no_harm() -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        m.a(x) + m.b(x)
        y: Tensor = m.bn(m.b(x))
        return y

    fused(code)


@pytest.mark.parametrize("summed", [False, True])
def test_a_pool_becomes_a_layer_in_a_sum_alone(summed: bool) -> None:
    """PIDNet pools over 17x17 and normalises: a convolution of that size is more work than both."""

    def code(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.bn(m.pool(x) - x) if summed else m.bn(m.pool(x))
        return y.relu()

    certificate = fused(code, pool=nn.AvgPool2d(3, 1, 1))
    assert certificate.convolutions_after - certificate.convolutions_before == int(summed)

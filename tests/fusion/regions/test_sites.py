"""Where fused layers go: a layer's place, a whole module, or new code; and what code also does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.fused import fuse
from zoo.parts import conv_bn

C = 4


class Coded(nn.Module):
    def __init__(self, code: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.code = code

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self, x)


def branches(code: Callable[[Any, Tensor], Tensor] | None = None) -> Coded:
    return Coded(
        code or (lambda m, x: m.a(x) + m.b(x)), a=conv_bn(C, C, 3), b=conv_bn(C, C, 1)
    )  # fmt: skip


@torch.no_grad()
def fused(network: nn.Module) -> nn.Module:
    network.double().eval()
    x = torch.randn(2, C, 8, 7, dtype=torch.float64)
    certified, plain = (
        fuse(network, inputs=x.clone(), certify=certify) for certify in (True, False)
    )
    for shape in (x.shape, (1, C, 9, 6)):
        x = torch.randn(shape, dtype=torch.float64)
        for module in (certified.module, plain.module):
            assert torch.allclose(module(x.clone()), network(x.clone()), rtol=0, atol=1e-12)
    assert list(certified.module.state_dict()) == list(plain.module.state_dict())
    return certified.module


def test_a_chain_keeps_its_layers_name() -> None:
    module = fused(nn.Sequential(OrderedDict(body=conv_bn(C, C, 3), relu=nn.ReLU())))
    assert list(module.state_dict()) == ["body.conv.weight", "body.conv.bias"]
    assert isinstance(module.get_submodule("body.bn"), nn.Identity)


class Constant(nn.Module):
    """Adds a constant per channel, or multiplies with one, and knows how many channels it has."""

    def __init__(self, *, multiplied: bool) -> None:
        super().__init__()
        self.channels, self.multiplied = C, multiplied
        self.constant = nn.Parameter(torch.randn(1, C, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.constant if self.multiplied else x + self.constant


class Listed(nn.Module):
    """YOLOv7's head: implicit layers around a convolution, the result put into a given list."""

    def __init__(self) -> None:
        super().__init__()
        self.ia, self.m = Constant(multiplied=False), nn.Conv2d(C, C, 1)
        self.im = Constant(multiplied=True)

    def forward(self, maps: list[Tensor]) -> Tensor:
        maps[0] = self.m(self.ia(maps[0]))
        maps[0] = self.im(maps[0])
        return maps[0].relu().view(maps[0].size(0), self.im.channels, -1)


def test_modules_that_add_or_multiply_a_constant_go_into_the_layer_beside_them() -> None:
    """No code changes: what a head does to a list that it is given, it goes on doing."""
    head = Listed()
    module = fused(Coded(lambda m, x: m.head([x]).flatten(2).view_as(x), head=head))
    folded = module.get_submodule("head")
    assert type(folded) is Listed
    assert isinstance(folded.ia, nn.Identity)
    assert isinstance(folded.im, nn.Identity)
    assert list(module.state_dict()) == ["head.m.weight", "head.m.bias"]


def test_a_constant_that_code_reads_elsewhere_keeps_its_module() -> None:
    network = Coded(
        lambda m, x: m.scale(m.conv(x)).relu() * m.scale.constant,
        conv=nn.Conv2d(C, C, 3, padding=1), scale=Constant(multiplied=True),
    )  # fmt: skip
    assert "scale.constant" in fused(network).state_dict()


def test_a_whole_module_becomes_the_layer() -> None:
    assert type(fused(branches())) is nn.Conv2d
    module = fused(nn.Sequential(branches(), nn.ReLU()))
    assert type(module.get_submodule("0")) is nn.Conv2d


def test_a_part_of_a_modules_code_becomes_its_child() -> None:
    module = fused(branches(lambda m, x: functional.relu(m.a(x) + m.b(x))))
    assert list(module.state_dict()) == ["reparam.weight", "reparam.bias"]
    assert isinstance(module, Coded)


WRITES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "before": lambda m, x: (x.clamp_(min=0), m.a(x) + m.b(x))[1],
    "after": lambda m, x: (m.a(x) + m.b(x), x.mul_(2))[0],
    "to a copy": lambda m, x: (torch.relu_(x + 1), m.a(x) + m.b(x))[1],
}


@pytest.mark.parametrize("code", WRITES.values(), ids=WRITES)
def test_a_module_that_also_writes_is_not_the_layer_alone(
    code: Callable[[Any, Tensor], Tensor],
) -> None:
    module = fused(branches(code))
    assert isinstance(module, Coded)
    assert list(module.state_dict()) == ["reparam.weight", "reparam.bias"]


def test_what_a_part_writes_is_read_by_the_rest() -> None:
    part = branches(lambda m, x: (m.a(x) + m.b(x), x.mul_(2))[0])
    fused(Coded(lambda m, x: functional.relu(m.part(x)) + x, part=part))


def test_a_child_called_twice_within_code_that_is_written_out() -> None:
    """Its site stands in a module deeper than the one that the code of the outermost brings in."""
    inner = Coded(
        lambda m, x: m.d(functional.relu(m.c(m.c(x))).mean((2, 3))),
        c=conv_bn(C, C, 1), d=nn.Linear(C, C),
    )  # fmt: skip
    module = fused(Coded(lambda m, x: m.e(m.b(x)), b=inner, e=nn.Linear(C, C)))
    assert sum(isinstance(part, nn.Linear) for part in module.modules()) == 1
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def test_names_that_are_taken_get_a_number() -> None:
    network = branches(lambda m, x: functional.relu(m.a(x) + m.b(x)) + m.reparam(x).relu())
    network.add_module("reparam", nn.Conv2d(C, C, 1))
    module = fused(network)
    assert set(module.state_dict()) == {
        f"{name}.{kind}" for name in ("reparam", "reparam_1") for kind in ("weight", "bias")
    }


class ReadTwice(nn.Module):
    """The numbers of a layer and of its BatchNorm are used once more, by the code itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn(self.conv(x)))
        y = functional.conv2d(y, self.conv.weight).sigmoid()
        return y * self.bn.weight.view(1, -1, 1, 1)


@torch.no_grad()
def test_a_layer_whose_numbers_are_read_elsewhere_keeps_them() -> None:
    network = ReadTwice().double().eval()
    network.bn.bias.normal_()
    network.bn.weight.normal_()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    fused = fuse(network, inputs=x)
    assert fused.certificate is not None
    assert fused.certificate.batchnorms_left == 0
    assert torch.allclose(fused.module(x), network(x), rtol=0, atol=1e-12)

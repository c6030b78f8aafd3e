"""What is left, and why: in our words, with the line of the code, once, and only if it is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.fused import fuse
from edgerep.fusion.regions.own_code import watch_own_code
from zoo.parts import conv_bn

HERE = __file__.rpartition("/")[2]


class Coded(nn.Module):
    def __init__(self, code: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c = conv_bn(4, 4, 3), conv_bn(4, 4, 1), conv_bn(4, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.code = code

    def forward(self, x: Tensor) -> Any:
        return self.code(self, x)


@torch.no_grad()
def left(code: Callable[[Any, Tensor], Any]) -> tuple[tuple[str, str], ...]:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), Coded(code)).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.bias.normal_()
    certificate = fuse(network, inputs=torch.randn(2, 3, 8, 8)).certificate
    assert certificate is not None
    return certificate.left_unfused


def taken_apart_by_numbers(m: Any, x: Tensor) -> Tensor:
    y = functional.relu(m.a(x))
    count = int(y.abs().sum() > 0) + 1
    return functional.silu(m.b(y)).repeat(1, count, 1, 1) + 1


def skipped(m: Any, x: Tensor) -> Tensor:
    y = functional.relu(m.b(functional.relu(m.a(x)))) + x
    return y if y.mean() > 100 else y * 2


@pytest.mark.parametrize("code", [taken_apart_by_numbers, skipped])
def test_code_whose_parts_all_fold_is_not_mentioned(code: Callable[[Any, Tensor], Any]) -> None:
    assert left(code) == ()


def summed(m: Any, x: Tensor) -> Tensor:
    y: Tensor = m.a(x) + m.b(x)
    return y if y.mean() > 0 else y * 2


def normalised(m: Any, x: Tensor) -> Tensor:
    y: Tensor = m.norm(m.a(x))
    return y if y.mean() > 0 else y * 2


@pytest.mark.parametrize("code", [summed, normalised])
def test_code_that_sums_or_normalises_is_named_once(code: Callable[[Any, Tensor], Any]) -> None:
    ((name, why),) = left(code)
    assert name == "2"
    assert "decides by the numbers of a tensor" in why
    assert f"{HERE}:{code.__code__.co_firstlineno + 2}" in why
    assert "a module of its own" in why


def shared(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    a = m.a(x)
    return a + m.b(x), a


def double_padded(m: Any, x: Tensor) -> Tensor:
    y: Tensor = m.c(m.norm(x))
    return y


def test_what_is_refused_has_its_line_and_what_to_do() -> None:
    ((name, why),) = left(shared)
    assert (name, why.partition(" (")[0]) == (
        "2",
        "sum: something else reads a value in between: it folds where only the whole is read",
    )
    assert f"{HERE}:{shared.__code__.co_firstlineno + 2}" in why
    ((name, why),) = left(double_padded)
    assert name == "2.norm"
    assert "it pads with another value than the constant added before it: no one conv" in why
    assert f"{HERE}:{double_padded.__code__.co_firstlineno + 1}" in why


def test_no_word_of_the_recorder_is_said() -> None:
    def odd(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.a(x) + m.b(x)
        return y[: torch.Size([1]).numel() * range(len(y.tolist()))[0] + 1]

    ((_, why),) = left(odd)
    assert not any(word in why for word in ("Proxy", "torch.fx", "symbolic", "Attribute"))


def test_own_code_is_told_from_that_of_children() -> None:
    network, x = Coded(lambda m, x: m.c(functional.relu(m.a(x)))).eval(), torch.randn(1, 4, 8, 8)
    shown = watch_own_code(network, [x], {})
    assert (shown.may_hold_more, shown.may_be_map) == (False, False)
    network.code = lambda m, x: m.a(x) + x
    shown = watch_own_code(network, [x], {})
    assert (shown.may_hold_more, shown.may_be_map) == (True, True)

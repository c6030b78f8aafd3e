"""A float32 network computed in float64 is its float64 copy, and stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.torch_modules.float64 import Float64Arithmetic


class Mixed(nn.Module):
    """Modules, functions, methods, operators, a list and a keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.gamma = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x)) * self.gamma
        z = torch.cat([y, functional.conv2d(input=x, weight=self.conv.weight, padding=1)], dim=1)
        result: Tensor = z.mean((2, 3)) + self.gamma.sum()
        return result


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "mixed": Mixed,
    "a weighty kernel": lambda: nn.Conv2d(512, 640, 1),
    "a weighty kernel, small image": lambda: nn.Conv2d(256, 300, 3, 2, 2, 2),
    "a weighty kernel without bias": lambda: nn.Conv2d(256, 300, (3, 2), (2, 1), 1, bias=False),
    "weighty groups": lambda: nn.Conv2d(512, 1024, 3, groups=2),
    "padded by name": lambda: nn.Conv2d(256, 300, 3, padding="same"),
    "weighty and reflected": lambda: nn.Conv2d(256, 300, 3, padding=1, padding_mode="reflect"),
    "signals": lambda: nn.Conv1d(512, 600, 3),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(700)),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@torch.no_grad()
def test_it_computes_what_the_float64_copy_does(
    make: Callable[[], nn.Module], dtype: torch.dtype
) -> None:
    module = make().eval()
    channels = getattr(module, "in_channels", 3)
    size = (7,) if isinstance(module, nn.Conv1d) else (7, 6)
    x = torch.randn(2, channels, *size)
    module(x)  # a lazy layer is made
    module, x = module.to(dtype), x.to(dtype)
    before = copy.deepcopy(module.state_dict())
    wanted = copy.deepcopy(module).double()(x.double())
    with Float64Arithmetic():
        found = module(x.double())
    assert found.dtype == torch.float64
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])


def test_narrow_results_of_constants_are_widened_before_use() -> None:
    third = torch.tensor(1.0) / 3
    with Float64Arithmetic():
        real, whole = third * 3, torch.ones(2, dtype=torch.int64) + 1
    assert real.dtype == torch.float64
    assert whole.dtype == torch.int64


SMALL = torch.tensor([[1e-5, -2e-5, 0, 3e-5]])
ENDLESS = torch.tensor([[torch.inf, -torch.inf, torch.nan, 1.0]])


@pytest.mark.parametrize(
    ("call", "x"),
    [
        (nn.RMSNorm(4), SMALL),
        (lambda x: functional.rms_norm(x, (4,)), SMALL),
        (lambda x: torch.rms_norm(x, (4,), eps=1e-3), SMALL),
        (torch.nan_to_num, ENDLESS),
        (lambda x: x.nan_to_num(nan=1.0, neginf=-5.0), ENDLESS),
        (lambda x: torch.nan_to_num(x, 0.0, None, None), ENDLESS),
        (lambda x: x.clone().nan_to_num_(), ENDLESS),
    ],
)
def test_defaults_are_those_of_float32(call: Callable[[Tensor], Tensor], x: Tensor) -> None:
    with Float64Arithmetic():
        found = call(x.double())
    torch.testing.assert_close(found.float(), call(x), rtol=1e-6, atol=0)

"""Norms in one pass: the same function, and the rounding of runtimes that compute them so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.torch_modules.one_pass_norms import OnePassNorms

NORMS = {
    "layer": nn.LayerNorm((6, 5)),
    "layer, plain": nn.LayerNorm(5, elementwise_affine=False, eps=1e-3),
    "layer, no bias": nn.LayerNorm(5, bias=False),
    "group": nn.GroupNorm(2, 4),
    "instance": nn.InstanceNorm2d(4, affine=True),
    "instance, plain": nn.InstanceNorm2d(4),
    "instance, by its statistics": nn.InstanceNorm2d(4, track_running_stats=True).eval(),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@torch.no_grad()
def test_it_is_the_same_function_and_rounds_more(norm: nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in norm.parameters():
        parameter.uniform_(0.5, 2)
    x = torch.randn(2, 4, 6, 5)
    with OnePassNorms():
        torch.testing.assert_close(norm(x.double()), norm.double()(x.double()))
    norm.float()
    wanted = norm.double()(x.double() + 30)
    norm.float()
    with OnePassNorms():
        found = norm(x + 30)
    own = float((norm(x + 30) - wanted).abs().max())
    assert own <= float((found - wanted).abs().max()) < 1e-2


def test_calls_of_functions_are_seen_too() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3) + 30
    calls: tuple[Callable[[], Tensor], ...] = (
        lambda: functional.layer_norm(x, (3,)),
        lambda: torch.layer_norm(x, (3,)),
        lambda: functional.group_norm(x, num_groups=2),
        lambda: torch.group_norm(x, 2),
        lambda: functional.instance_norm(x),
    )
    for call in calls:
        with OnePassNorms():
            found = call()
        assert not torch.equal(found, call())
        torch.testing.assert_close(found, call(), rtol=1e-2, atol=1e-2)

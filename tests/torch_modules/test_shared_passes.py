"""Images that a kernel will be applied to are convolved in one pass over it, and only once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgerep.torch_modules import shared_passes
from edgerep.torch_modules.float64 import Float64Arithmetic
from edgerep.torch_modules.shared_passes import SharedPasses


def test_an_expected_image_is_convolved_with_the_networks_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together: list[int] = []  # images of each pass
    honest = shared_passes._in_slices

    def counted(rest: Any, images: Sequence[Tensor]) -> list[Tensor]:
        together.append(len(images))
        return honest(rest, images)

    monkeypatch.setattr(shared_passes, "_in_slices", counted)
    layer = nn.Conv2d(256, 256, 3, padding=1)
    mine, expected = torch.randn(2, 256, 3, 3), torch.randn(3, 256, 2, 2, dtype=torch.float64)
    passes = SharedPasses()
    passes.expect(layer.weight, expected)
    with torch.no_grad(), Float64Arithmetic(passes):
        layer(mine)
    wanted = copy.deepcopy(layer).double()(expected)
    with torch.no_grad(), Float64Arithmetic(passes):
        found = layer(expected)
        again = layer(expected)
    assert together == [2]
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)
    found.zero_()  # what was given is the caller's
    assert torch.allclose(again, wanted, rtol=1e-12, atol=1e-12)
    expected.mul_(2)  # another image since it was written to
    with torch.no_grad(), Float64Arithmetic(passes):
        twice = layer(expected)
    assert not torch.allclose(twice, wanted)

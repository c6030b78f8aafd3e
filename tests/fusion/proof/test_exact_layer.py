"""A fused layer in float64: its kernel is made once, and the layer itself is only read."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from edgerep.fusion.algebra.layer import empty_layer, settle, write_numbers
from edgerep.fusion.algebra.linear_map import LinearMap, convolution_map
from edgerep.fusion.proof.exact_layer import ExactLayer, Probed, probed

PROBES = torch.randn(2, 3, 2, 2).double(), torch.randn(1, 3, 1, 1).double()


def convolution(outputs: int) -> LinearMap:
    return convolution_map(
        torch.randn(outputs, 3, 3, 3), None, stride=(1, 1), before=(1, 1), after=(1, 1),
        dilation=(1, 1), groups=1,
    )  # fmt: skip


def assert_is_what(found: Probed, whole: LinearMap) -> None:
    for folded, probe in zip(found.folded, PROBES, strict=True):
        assert torch.allclose(folded, torch.conv2d(probe, whole.kernel(), padding=1), atol=1e-12)
    assert found.unrounded.shape == (1, 4, 1, 1)
    assert torch.allclose(found.unrounded.float(), found.rounded, atol=1e-5)


def test_the_first_call_makes_the_kernel_once_for_its_image_and_the_probes() -> None:
    made: list[slice] = []
    whole = convolution(4)

    def rows(wanted: slice) -> Tensor:
        made.append(wanted)
        return whole.rows(wanted)

    settled = settle(replace(whole, rows=rows))
    layer = empty_layer(settled, torch.empty(0))
    write_numbers(settled, layer)
    before = layer.get_parameter("weight").clone()
    assert torch.equal(before, whole.kernel().float())
    made.clear()
    told: list[Probed] = []
    exact = ExactLayer(settled, layer, PROBES, told.append)
    image = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    wanted = torch.conv2d(image, whole.kernel(), padding=1)
    assert torch.allclose(exact(image), wanted, atol=1e-12)
    assert made == [slice(0, 4)]
    (found,) = told
    assert_is_what(found, whole)
    assert torch.allclose(exact(2 * image), 2 * wanted, atol=1e-12)
    assert len(told) == 1
    assert torch.equal(layer.get_parameter("weight"), before)


def test_a_layer_that_is_never_called_is_probed_too() -> None:
    whole = convolution(4)
    settled = settle(whole)
    layer = empty_layer(settled, torch.empty(0))
    write_numbers(settled, layer)
    assert_is_what(probed(settled, layer, PROBES), whole)

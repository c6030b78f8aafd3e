"""A map as a torch layer: symmetric padding, zero taps, dilation, numbers rounded once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.fusion.algebra.layer import Settled, empty_layer, settle, write_numbers
from edgerep.fusion.algebra.linear_map import LinearMap, convolution_map, identity_map, shifted_map
from edgerep.fusion.algebra.sequence import after
from edgerep.fusion.algebra.sums import total

DOUBLE = torch.empty(0, dtype=torch.float64)


def conv(
    k: int, before: int = 0, behind: int = 0, *, stride: int = 1, dilation: int = 1
) -> LinearMap:
    return convolution_map(
        torch.randn(2, 2, k, dtype=torch.float64), torch.randn(2, dtype=torch.float64),
        stride=(stride,), before=(before,), after=(behind,), dilation=(dilation,), groups=1,
    )  # fmt: skip


def written(settled: Settled, like: Tensor = DOUBLE) -> nn.Module:
    layer = empty_layer(settled, like)
    write_numbers(settled, layer)
    return layer


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("before", [-2, -1, 0, 1, 3])
@pytest.mark.parametrize("behind", [-2, 0, 1, 3])
def test_uneven_padding_and_crops_become_zero_taps(before: int, behind: int, stride: int) -> None:
    made = conv(3, before, behind, stride=stride)
    layer = written(settle(made))
    for length in range(7, 14):
        x = torch.randn(1, 2, length, dtype=torch.float64)
        wide = functional.pad(x, (before, behind))
        assert made.bias is not None
        wanted = functional.conv1d(wide, made.kernel(), made.bias(), stride)
        found = layer(x)
        assert found.shape == wanted.shape
        assert torch.allclose(found, wanted, rtol=0, atol=1e-13)


def test_even_padding_adds_no_taps() -> None:
    settled = settle(conv(3, 1, 1))
    assert (settled.size, settled.padding, settled.dilation) == ((3,), (1,), (1,))
    assert settled.margins == ((0, 0),)
    assert settled.weights == 2 * 2 * 3


def test_uneven_padding_adds_the_fewest_taps() -> None:
    assert settle(conv(3, 2, 0)).size == (5,)
    assert settle(conv(3, 0, 1)).size == (4,)
    cut = settle(shifted_map(2, (-3,), (0,), "crop"))  # taps at 0 and 3, the first of them zero
    assert (cut.size, cut.padding, cut.dilation) == ((2,), (0,), (3,))
    both = settle(shifted_map(2, (-3,), (-3,), "crop"))
    assert (both.size, both.dilation) == ((3,), (3,))


def test_zero_taps_at_the_ends_are_taken_off() -> None:
    large, small = conv(5, 2, 2), conv(1)
    kept = total([(1, large), (1, small)])
    assert settle(kept).size == (5,)
    box = LinearMap(
        inputs=2, outputs=2, groups=1, size=(5,), stride=(1,), offset=(-2,), extent=(-1,),
        taps=frozenset({(2,), (3,)}), rows=kept.rows, bias=None, words=("x",),
    )  # fmt: skip
    settled = settle(box)
    assert settled.margins[0][0] < 0
    assert settled.size == (2,)
    assert settled.is_same  # one place more behind than in front, as torch's "same" has it
    assert torch.equal(settled.rows(slice(0, 2)), kept.kernel()[..., 2:4])
    strided = settle(replace(box, stride=(2,)))  # for which torch has no "same"
    assert strided.size == (3,)  # two taps, and one for symmetric padding
    assert torch.equal(strided.rows(slice(0, 2))[..., 1:], kept.kernel()[..., 2:4])


def test_zeros_between_taps_become_dilation() -> None:
    settled = settle(total([(1, conv(3, 2, 2, dilation=2)), (1, conv(1))]))
    assert (settled.size, settled.padding, settled.dilation) == ((3,), (2,), (2,))
    assert settle(total([(1, conv(3, 2, 2, dilation=2)), (1, conv(3, 1, 1))])).dilation == (1,)
    spread = settle(after(conv(2, dilation=3), conv(1)))
    assert (spread.size, spread.dilation) == ((2,), (3,))
    x = torch.randn(1, 2, 9, dtype=torch.float64)
    assert written(spread)(x).shape == (1, 2, 6)


def test_a_dilation_whose_taps_a_margin_shifts() -> None:
    made = conv(2, 0, 1, dilation=2)  # taps 0 and 2, padded behind: a zero tap, maybe in between
    x = torch.randn(1, 2, 8, dtype=torch.float64)
    assert made.bias is not None
    wanted = functional.conv1d(functional.pad(x, (0, 1)), made.kernel(), made.bias())
    assert torch.allclose(written(settle(made))(x), wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_each_number_is_rounded_once(dtype: torch.dtype) -> None:
    summed = total([(1 / 3, conv(3, 1, 1)), (1, conv(1))])
    layer = written(settle(summed), torch.empty(0, dtype=dtype))
    assert torch.equal(layer.get_parameter("weight"), summed.kernel().to(dtype))
    assert summed.bias is not None
    assert torch.equal(layer.get_parameter("bias"), summed.bias().to(dtype))
    assert not layer.training


@pytest.mark.parametrize(("axes", "kind"), [
    (0, nn.Linear), (1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d)
])  # fmt: skip
def test_the_layer_is_that_of_its_axes(axes: int, kind: type[nn.Module]) -> None:
    layer = written(settle(identity_map(3, axes)))
    assert type(layer) is kind
    x = torch.randn(2, 3, *[4] * axes, dtype=torch.float64)
    if axes:
        assert layer.get_parameter("weight").shape == (3, 1, *[1] * axes)
        assert torch.equal(layer(x), x)
    assert not layer.get_parameter("bias").any()


def test_making_a_layer_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    written(settle(conv(3)))
    assert torch.equal(torch.get_rng_state(), state) is False  # `conv` draws its weight
    made = settle(conv(3))
    state = torch.get_rng_state()
    written(made)
    assert torch.equal(torch.get_rng_state(), state)

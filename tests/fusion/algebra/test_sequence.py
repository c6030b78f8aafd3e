"""One map after another: what is exact at every size, why it is not, and shortcuts that agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgerep.fusion.algebra.linear_map import (
    LinearMap,
    average_map,
    convolution_map,
    diagonal_map,
    identity_map,
    shifted_map,
)
from edgerep.fusion.algebra.sequence import after, inexact

ONES = torch.ones(4, dtype=torch.float64)
PADS = "it pads what a padded convolution gives"
VALUE = "it pads with another value than the constant added before it"


def conv(
    k: int = 3, *, bias: float | None = None, stride: int = 1, groups: int = 1, **pads: Any
) -> LinearMap:
    before, behind = pads.get("before", k // 2), pads.get("behind", k // 2)
    return convolution_map(
        torch.randn(4, 4 // groups, k), None if bias is None else torch.full((4,), bias),
        stride=(stride,), before=(before,), after=(behind,), dilation=(pads.get("dilation", 1),),
        groups=groups,
    )  # fmt: skip


def norm(shift: float | None) -> LinearMap:
    return diagonal_map(lambda: ONES, None if shift is None else lambda: ONES * shift, 4, 1)


def pad(before: int = 1, behind: int = 1) -> LinearMap:
    return shifted_map(4, (before,), (behind,), "pad")


CASES: dict[str, tuple[LinearMap, LinearMap, Tensor | None, str | None]] = {
    "padded after a constant": (conv(), norm(1), None, VALUE),
    "unpadded after a constant": (conv(before=0, behind=0), norm(1), None, None),
    "padded after a constant of zero": (conv(), norm(0), None, None),
    "padded after a scale": (conv(), norm(None), None, None),
    "padded on the left after padded": (conv(before=1, behind=0), conv(), None, PADS),
    "padded on the right after padded": (conv(before=0, behind=1), conv(), None, PADS),
    "left after right": (conv(before=2, behind=0), conv(before=0, behind=2), None, PADS),
    "right after left": (conv(before=0, behind=2), conv(before=2, behind=0), None, PADS),
    "left after left": (conv(before=2, behind=0), conv(before=2, behind=0), None, None),
    "right after right": (conv(before=0, behind=2), conv(before=0, behind=2), None, None),
    "padded after 1x1 with a stride": (conv(), conv(1, stride=2), None, None),
    "padded after unpadded": (conv(), conv(before=0, behind=0), None, PADS),
    "padded after a mean with gaps": (conv(), average_map(4, (2,), (2,), (0,), 2), None, PADS),
    "a scale after anything": (norm(1), conv(bias=1), None, None),
    "1x1 after padded": (conv(1), conv(bias=1), None, None),
    "a crop after padded": (pad(-1, -1), conv(bias=1), None, None),
    "a crop of one end, a pad of the other": (pad(-1, 1), conv(before=0, behind=0), None, PADS),
    "a fill like the constant": (pad(), norm(0.5), 0.5 * ONES, None),
    "a fill nearly like the constant": (pad(), norm(0.5), (0.5 + 4e-7) * ONES, None),
    "a fill unlike the constant": (pad(), norm(0.5), 0.501 * ONES, VALUE),
    "a fill after no constant": (pad(), conv(1), 0.5 * ONES, VALUE),
    "a fill of zero": (pad(), conv(1), 0 * ONES, None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_exact_at_every_size(case: str) -> None:
    outer, inner, fill, why = CASES[case]
    assert inexact(outer, inner, fill) == why


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case[2] is None])
def test_the_verdict_is_that_of_the_images(case: str) -> None:
    """Folded anyway, a refused pair is wrong at some size, and an exact one at none."""
    outer, inner, _, why = CASES[case]
    both = after(outer, inner)
    errors = []
    for length in range(4, 12):
        x = torch.randn(1, 4, length, dtype=torch.float64)
        wanted, found = applied(outer, applied(inner, x)), applied(both, x)
        same = wanted.shape == found.shape
        errors.append(float((wanted - found).abs().max()) if same else 1.0)
    assert (max(errors) < 1e-12) == (why is None)


def applied(made: LinearMap, x: Tensor) -> Tensor:
    """The definition in the module's docstring, by padding on either side as far as it reads."""
    (stride,), (size,), (offset,) = made.stride, made.size, made.offset
    places = (x.shape[-1] + made.extent[0]) // stride + 1
    behind = stride * (places - 1) + offset + size - x.shape[-1]
    wide = functional.pad(x, (-offset, behind))
    bias = None if made.bias is None else made.bias()
    return functional.conv1d(wide, made.kernel(), bias, stride, groups=made.groups)


def test_the_size_of_both_is_that_of_nested_floors() -> None:
    inner, outer = conv(stride=3), conv(2, stride=2, before=1, behind=0)
    both = after(outer, inner)
    for length in range(3, 30):
        x = torch.zeros(1, 4, length, dtype=torch.float64)
        assert applied(outer, applied(inner, x)).shape == applied(both, x).shape


DEPTHWISE = {
    "outer": (conv(groups=4, bias=1, before=0, behind=0), conv(stride=2)),
    "outer, inner in groups": (conv(groups=4, before=0, behind=0), conv(groups=2, stride=2)),
    "inner": (conv(bias=1, before=0, behind=0), conv(groups=4, stride=2)),
    "inner of one tap, with a stride": (conv(3, before=0, behind=0), conv(1, groups=4, stride=2)),
    "inner, outer in groups": (conv(groups=2, before=0, behind=0), conv(groups=4, stride=3)),
    "both": (conv(groups=4, before=0, behind=0), conv(groups=4)),
    "diagonal outer": (norm(2), conv(stride=2, bias=1)),
    "diagonal inner": (conv(before=0, behind=0, stride=2), norm(2)),
}


@pytest.mark.parametrize("case", DEPTHWISE)
def test_a_shortcut_gives_what_matrix_products_give(case: str) -> None:
    outer, inner = DEPTHWISE[case]
    both, plain = after(outer, inner), after(dense(outer), dense(inner))
    assert torch.allclose(dense(both).kernel(), plain.kernel(), rtol=0, atol=1e-13)
    assert (both.size, both.stride, both.offset) == (plain.size, plain.stride, plain.offset)
    assert (both.extent, both.taps) == (plain.extent, plain.taps)
    assert (both.bias is None) == (plain.bias is None)
    if both.bias is not None and plain.bias is not None:
        assert torch.allclose(both.bias(), plain.bias(), rtol=0, atol=1e-13)
    for start in range(4):
        assert torch.equal(both.rows(slice(start, start + 1)), both.kernel()[start : start + 1])


def dense(made: LinearMap) -> LinearMap:
    """The same map, written without groups."""

    def rows(wanted: slice) -> Tensor:
        wide = torch.zeros(made.outputs, made.inputs, *made.size, dtype=torch.float64)
        channels = made.input_channels(slice(0, made.outputs))
        for row in range(made.outputs):
            wide[row, channels[row]] = made.kernel()[row]
        return wide[wanted].clone()

    return replace(made, groups=1, rows=rows)


def test_words_say_the_order() -> None:
    assert after(conv(3), conv(1)).words == ("1 then 3",)
    assert after(conv(3), norm(1)).words == ("3",)
    assert after(norm(1), conv(3)).words == ("3",)
    assert after(norm(1), identity_map(4, 1)).words == ("identity",)


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="4 channels cannot follow one that gives 3"):
        after(conv(), identity_map(3, 1))
    with pytest.raises(ValueError, match="cannot follow"):
        after(conv(), identity_map(4, 2))

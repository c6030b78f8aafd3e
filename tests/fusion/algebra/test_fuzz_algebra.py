"""Random trees of random maps: folded equals unfolded at six image sizes, refused is inexact.

A wrong shortcut (a stride forgotten) once passed every real network and showed only here. One check
is one tree at one image size. `EDGEREP_FUZZ=100` runs a hundred times as many, on other trees;
`EDGEREP_FUZZ_OUTPUT=FILE` writes down what was counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from edgerep.fusion.algebra import sequence as map_sequence
from edgerep.fusion.algebra.layer import empty_layer, settle, write_numbers
from edgerep.fusion.algebra.linear_map import (
    LinearMap,
    average_map,
    convolution_map,
    diagonal_map,
    identity_map,
    shifted_map,
)
from edgerep.fusion.algebra.sequence import after, inexact
from edgerep.fusion.algebra.sums import constant, total
from edgerep.fusion.algebra.transposed import transposed_map
from edgerep.fusion.proof.exact_layer import fold_images
from zoo.fuzzing import fuzz, record

FOLDED = 1e-10  # of the largest number of the output, in float64
SIZES = ((6, 6), (7, 6), (8, 11), (9, 9), (10, 7), (13, 12))
COUNTS: Counter[str] = Counter()

Image = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a tree.

    Attributes:
        map: What the algebra says that it is; None where it refuses.
        forced: The same if nobody asks whether it is exact; None where it cannot even be written.
        apply: What it is, by torch.
        channels: That it gives.
    """

    map: LinearMap | None
    forced: LinearMap | None
    apply: Image
    channels: int


@dataclass(frozen=True, eq=False)
class Step:
    map: LinearMap
    apply: Image
    channels: int
    fill: Tensor | None = None


def numbers(draw: Any, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def convolution(draw: Any, c: int) -> Step:
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 4, 6) if c % g == 0]))
    out = groups * draw(st.integers(1, max(1, 6 // groups)))
    size, stride = (tuple(draw(st.integers(1, 3)) for _ in range(2)) for _ in range(2))
    pad = tuple(draw(st.integers(0, 2)) for _ in range(2))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(2))
    weight = numbers(draw, out, c // groups, *size)
    bias = numbers(draw, out) if draw(st.booleans()) else None
    made = convolution_map(
        weight, bias, stride=stride, before=pad, after=pad, dilation=dilation, groups=groups
    )
    return Step(
        made,
        lambda x: functional.conv2d(x, weight, bias, stride, pad, dilation, groups),
        out,
    )


def pointwise(draw: Any, c: int) -> Step:
    out = draw(st.integers(1, 6))
    weight = numbers(draw, out, c, 1, 1)
    made = convolution_map(
        weight, None, stride=(1, 1), before=(0, 0), after=(0, 0), dilation=(1, 1), groups=1
    )
    return Step(made, lambda x: functional.conv2d(x, weight), out)


def batchnorm(draw: Any, c: int) -> Step:
    scale, shift = numbers(draw, c), numbers(draw, c)
    return Step(
        diagonal_map(lambda: scale, lambda: shift, c, 2),
        lambda x: x * scale[:, None, None] + shift[:, None, None],
        c,
    )


def average(draw: Any, c: int) -> Step:
    size, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pad = draw(st.integers(0, size // 2))
    made = average_map(c, (size, size), (stride, stride), (pad, pad), size * size)
    return Step(made, lambda x: functional.avg_pool2d(x, size, stride, pad), c)


def padding(draw: Any, c: int) -> Step:
    top, bottom, left, right = (draw(st.integers(-1, 2)) for _ in range(4))
    made = shifted_map(c, (top, left), (bottom, right), "pad")
    return Step(made, lambda x: functional.pad(x, (left, right, top, bottom)), c)


def continued(draw: Any, c: int) -> Step:
    """A convolution that is padded with parts of the image, or such a padding by itself."""
    mode = draw(st.sampled_from(["reflect", "replicate", "circular"]))
    top, bottom, left, right = (draw(st.integers(0, 2)) for _ in range(4))
    if draw(st.booleans()):
        made = shifted_map(c, (top, left), (bottom, right), "pad", mode)
        return Step(made, lambda x: functional.pad(x, (left, right, top, bottom), mode), c)
    groups = draw(st.sampled_from([g for g in (1, 2) if c % g == 0]))
    out, stride = groups * draw(st.integers(1, 3)), draw(st.integers(1, 2))
    weight, bias = numbers(draw, out, c // groups, 3, 3), numbers(draw, out)
    made = convolution_map(
        weight, bias, stride=(stride,) * 2, before=(top, left), after=(top, left),
        dilation=(1, 1), groups=groups, extension=mode,
    )  # fmt: skip

    def apply(x: Tensor) -> Tensor:
        x = functional.pad(x, (left, left, top, top), mode)
        return functional.conv2d(x, weight, bias, stride, 0, 1, groups)

    return Step(made, apply, out)


def transposed(draw: Any, c: int) -> Step:
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if c % g == 0]))
    out = groups * draw(st.integers(1, max(1, 4 // groups)))
    size, stride, dilation = (tuple(draw(st.integers(1, n)) for _ in range(2)) for n in (4, 3, 2))
    pad = tuple(draw(st.integers(0, 2)) for _ in range(2))
    more = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    weight = numbers(draw, c, out // groups, *size)
    bias = numbers(draw, out) if draw(st.booleans()) else None
    made = transposed_map(
        weight, bias, stride=stride, padding=pad, output_padding=more, dilation=dilation,
        groups=groups,
    )  # fmt: skip
    return Step(
        made,
        lambda x: functional.conv_transpose2d(x, weight, bias, stride, pad, more, groups, dilation),
        out,
    )


STEPS = (convolution, convolution, pointwise, batchnorm, average, padding, continued, transposed)


def then(inner: Piece, step: Step) -> Piece:
    folded = None
    if inner.map is not None and inexact(step.map, inner.map, step.fill) is None:
        folded = after(step.map, inner.map)
    forced = None
    if inner.forced is not None and _can_be_written(step.map, inner.forced):
        forced = after(step.map, inner.forced)
    return Piece(folded, forced, lambda x: step.apply(inner.apply(x)), step.channels)


def _can_be_written(outer: LinearMap, inner: LinearMap) -> bool:
    """Whether the two have one formula at all: places are either skipped, or spread."""
    spread = (outer.up or inner.up) is not None
    return not spread or outer.is_pointwise or inner.is_pointwise


def bordered(draw: Any, inner: Piece) -> Piece:
    """A padding filled with one number per channel: that of the constant before it, or another."""
    p, c = draw(st.integers(1, 2)), inner.channels
    fill = numbers(draw, c)
    if inner.map is not None and inner.map.bias is not None and draw(st.booleans()):
        fill = inner.map.bias()

    def apply(x: Tensor) -> Tensor:
        y = functional.pad(x, (p, p, p, p))
        inside = functional.pad(torch.ones_like(x), (p, p, p, p))
        return torch.where(inside > 0, y, fill[:, None, None])

    return then(inner, Step(shifted_map(c, (p, p), (p, p), "pad"), apply, c, fill))


@st.composite
def chains(draw: Any, c: int, longest: int = 3) -> Piece:
    piece = Piece(identity_map(c, 2), identity_map(c, 2), lambda x: x, c)
    for _ in range(draw(st.integers(1, longest))):
        if draw(st.integers(0, 7)) == 0:
            piece = bordered(draw, piece)
        else:
            piece = then(piece, draw(st.sampled_from(STEPS))(draw, piece.channels))
    return piece


def spread_sum(draw: Any, c: int) -> Piece:
    """Branches that spread the image alike, by kernels of different sizes; one may not fit."""
    up, out = draw(st.integers(2, 3)), draw(st.sampled_from([c, 4]))
    start = Piece(identity_map(c, 2), identity_map(c, 2), lambda x: x, c)
    branches = []
    for _ in range(draw(st.integers(2, 3))):
        p = draw(st.integers(0, 2))
        k = up + 2 * p - draw(st.integers(0, up - 1))
        more = up + 2 * p - k  # so that the result is `up` times as large
        if draw(st.integers(0, 5)) == 0:
            more = draw(st.integers(0, up - 1))
        groups = draw(st.sampled_from([g for g in (1, 2) if c % g == 0 and out % g == 0]))
        weight = numbers(draw, c, out // groups, k, k)
        made = transposed_map(
            weight, None, stride=(up, up), padding=(p, p), output_padding=(more, more),
            dilation=(1, 1), groups=groups,
        )  # fmt: skip

        def apply(
            x: Tensor, w: Tensor = weight, p: int = p, more: int = more, g: int = groups
        ) -> Tensor:
            return functional.conv_transpose2d(x, w, None, up, p, more, g)

        branch = start if draw(st.booleans()) else then(start, pointwise(draw, c))
        if branch.channels == c:
            branch = then(branch, Step(made, apply, out))
            branches.append(then(branch, batchnorm(draw, out)) if draw(st.booleans()) else branch)
    if not branches:
        return then(start, batchnorm(draw, c))

    def apply_all(x: Tensor) -> Tensor:
        parts = [branch.apply(x) for branch in branches]
        if len({part.shape for part in parts}) > 1:
            raise RuntimeError("torch would broadcast, or refuse")
        return torch.stack(parts).sum(0)

    def added(maps: list[LinearMap | None]) -> LinearMap | None:
        try:
            return None if None in maps else total([(1.0, made) for made in maps if made])
        except ValueError:
            return None

    maps, forced = added([b.map for b in branches]), added([b.forced for b in branches])
    return Piece(maps, forced, apply_all, branches[0].channels)


@st.composite
def sums(draw: Any, c: int) -> Piece:
    """Branches that torch can add, most of them: the same stride and size, ends cut to fit."""
    if draw(st.integers(0, 4)) == 0:
        return spread_sum(draw, c)
    stride, size = draw(st.integers(1, 2)), draw(st.sampled_from([1, 3, 5]))
    mode = draw(st.sampled_from(["zeros", "zeros", "zeros", "reflect", "replicate", "circular"]))
    out = draw(st.sampled_from([c, 4]))
    branches = []
    for _ in range(draw(st.integers(2, 4))):
        k = draw(st.sampled_from([k for k in (1, 3, 5) if k <= size]))
        groups = draw(st.sampled_from([g for g in (1, 2, 4) if c % g == 0 and out % g == 0]))
        weight = numbers(draw, out, c // groups, k, k)
        p = k // 2
        made = convolution_map(
            weight, None, stride=(stride, stride), before=(p, p), after=(p, p), dilation=(1, 1),
            groups=groups, extension=mode if p or draw(st.booleans()) else "zeros",
        )  # fmt: skip
        start = Piece(identity_map(c, 2), identity_map(c, 2), lambda x: x, c)

        def apply(
            x: Tensor, w: Tensor = weight, p: int = p, g: int = groups, mode: str = made.extension
        ) -> Tensor:
            if mode != "zeros":
                x, p = functional.pad(x, (p,) * 4, mode), 0
            return functional.conv2d(x, w, None, stride, p, 1, g)

        branches.append(then(start, Step(made, apply, out)))
        if draw(st.booleans()):
            branches[-1] = then(branches[-1], batchnorm(draw, out))
    if stride == 1 and out == c and draw(st.booleans()):
        branches.append(
            then(Piece(identity_map(c, 2), identity_map(c, 2), lambda x: x, c), batchnorm(draw, c))
        )
    if draw(st.integers(0, 3)) == 0:
        branches[-1] = then(branches[-1], average(draw, out))  # most often: no longer of one size
    by = [draw(st.sampled_from([1.0, -1.0, 0.5])) for _ in branches]
    shift = numbers(draw, out) if draw(st.booleans()) else None

    def added(maps: list[LinearMap | None]) -> LinearMap | None:
        if any(one is None for one in maps):
            return None
        try:
            return total([(b, m) for b, m in zip(by, maps, strict=True) if m], constant(shift))
        except ValueError:
            return None

    def apply_all(x: Tensor) -> Tensor:
        parts = [b * branch.apply(x) for b, branch in zip(by, branches, strict=True)]
        if len({part.shape for part in parts}) > 1:
            raise RuntimeError("torch would broadcast, or refuse")
        y = torch.stack(parts).sum(0)
        return y if shift is None else y + shift[:, None, None]

    maps, forced = added([b.map for b in branches]), added([b.forced for b in branches])
    return Piece(maps, forced, apply_all, out)


@st.composite
def trees(draw: Any) -> tuple[Piece, int]:
    c = draw(st.sampled_from([1, 2, 4, 6]))
    piece = draw(st.one_of(chains(c), sums(c)))
    for _ in range(draw(st.integers(0, 2))):
        if draw(st.integers(0, 5)) == 0:
            piece = bordered(draw, piece)
        else:
            piece = then(piece, draw(st.sampled_from(STEPS))(draw, piece.channels))
    return piece, c


def agreement(piece: Piece, made: LinearMap, c: int) -> list[bool]:
    """At each size that torch accepts: whether the map gives what the tree gives."""
    settled, agreed = settle(made), []
    layer = empty_layer(settled, torch.empty(0))
    for size in SIZES:
        x = torch.randn(2, c, *size, dtype=torch.float64)
        try:
            wanted = piece.apply(x)
        except RuntimeError:
            continue
        if not wanted.numel():
            continue
        try:
            (found,) = fold_images(settled, layer, [x])
        except RuntimeError:
            agreed.append(False)
            continue
        same = found.shape == wanted.shape and bool(
            (found - wanted).abs().max() <= FOLDED * max(1.0, float(wanted.abs().max()))
        )
        agreed.append(same)
    return agreed


@fuzz(1000)
@given(trees())
def test_folded_equals_unfolded_and_refused_is_inexact(drawn: tuple[Piece, int]) -> None:
    piece, c = drawn
    torch.manual_seed(0)
    if piece.map is not None:
        agreed = agreement(piece, piece.map, c)
        COUNTS["folded"] += 1
        COUNTS["checks"] += len(agreed)
        assert all(agreed)
    elif piece.forced is not None:
        agreed = agreement(piece, piece.forced, c)
        COUNTS["checks"] += len(agreed)
        if len(agreed) == len(SIZES):
            COUNTS["refused"] += 1
            COUNTS["refused, exact at every size"] += all(agreed)
            COUNTS["refused, exact at some sizes"] += any(agreed) and not all(agreed)
    else:
        COUNTS["sums of different sizes"] += 1


@fuzz(150)
@given(chains(4))
def test_the_written_layer_is_the_map(piece: Piece) -> None:
    if piece.map is None:
        return
    settled = settle(piece.map)
    layer = empty_layer(settled, torch.empty(0, dtype=torch.float64))
    write_numbers(settled, layer)
    x = torch.randn(1, 4, 13, 12, dtype=torch.float64)
    try:
        wanted = piece.apply(x)
    except RuntimeError:
        return
    with torch.no_grad():
        found = layer(x)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= FOLDED * max(1.0, float(wanted.abs().max()))


def test_enough_was_checked_and_little_was_refused_needlessly(pytestconfig: pytest.Config) -> None:
    record("EDGEREP_FUZZ_OUTPUT", COUNTS, pytestconfig)
    assert COUNTS["checks"] >= 3_500, dict(COUNTS)
    assert COUNTS["folded"] >= 400, dict(COUNTS)
    assert COUNTS["refused"] >= 35, dict(COUNTS)
    assert COUNTS["refused, exact at every size"] <= 0.05 * COUNTS["refused"], dict(COUNTS)
    assert COUNTS["refused, exact at some sizes"] > 0, "one size would do, which it does not"


# -- wrong shortcuts are found ---------------------------------------------------------------------


def found_within(count: int) -> bool:
    @settings(max_examples=count, deadline=None, derandomize=True, database=None,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(trees())
    def run(drawn: tuple[Piece, int]) -> None:
        piece, c = drawn
        if piece.map is not None:
            torch.manual_seed(0)
            assert all(agreement(piece, piece.map, c))

    try:
        run()
    except AssertionError:
        return True
    return False


def test_a_forgotten_stride_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of 1x1 taps taken for one that only scales: right unless it has a stride."""
    monkeypatch.setattr(
        LinearMap,
        "is_diagonal",
        property(lambda self: self.is_depthwise and all(k == 1 for k in self.size)),
    )
    assert found_within(500)


@pytest.mark.parametrize("condition", ["bias", "border", "reflected", "spread"])
def test_a_forgotten_border_condition_is_found(
    condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = map_sequence.inexact
    word = {"bias": "another value", "border": "padded convolution",
            "reflected": "with parts of it", "spread": "unevenly"}[condition]  # fmt: skip

    def careless(outer: LinearMap, inner: LinearMap, fill: Tensor | None = None) -> str | None:
        why = honest(outer, inner, fill)
        return None if why is not None and word in why else why

    monkeypatch.setitem(globals(), "inexact", careless)
    assert found_within(8000)  # constants of all modules that are loaded shape what is drawn


def test_a_shifted_sum_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch put into the first corner of the box, not at its own offset."""
    honest = globals()["total"]

    def careless(terms: Any, shift: Any = None) -> LinearMap:
        made: LinearMap = honest(terms, shift)
        return replace(made, offset=tuple(o - 1 for o in made.offset))

    monkeypatch.setitem(globals(), "total", careless)
    assert found_within(500)

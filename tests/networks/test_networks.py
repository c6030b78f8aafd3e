"""The networks that the tests fuse are the published ones, and well conditioned."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from zoo.counting import Calls, count_calls, count_multiplications
from zoo.hazards import HAZARDS
from zoo.hazards import SHAPES as HAZARD_SHAPES
from zoo.limits import LIMITS
from zoo.limits import SHAPES as LIMIT_SHAPES
from zoo.randomising import randomise
from zoo.zoo import BLOCKS, LARGE, NETWORKS, Entry

RUNNABLE = {**NETWORKS, **BLOCKS}
PUBLISHED = {name: e for name, e in {**NETWORKS, **LARGE}.items() if e.millions is not None}


def on_meta(entry: Entry) -> nn.Module:
    """The network without its numbers: shapes, calls and sizes only."""
    with torch.device("meta"):
        return entry.build().eval()


def seeded(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [*RUNNABLE, *LARGE])
def test_a_network_executes_what_its_definition_says(name: str) -> None:
    entry = {**RUNNABLE, **LARGE}[name]
    model = on_meta(entry)
    for shape in entry.shapes():
        assert count_calls(model, torch.empty(shape, device="meta")) == entry.before


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_has_the_published_size(name: str) -> None:
    published = PUBLISHED[name].millions
    millions = sum(p.numel() for p in on_meta(PUBLISHED[name]).parameters()) / 1e6
    decimals = len(str(published).partition(".")[2])
    assert round(millions, decimals) == published


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_randomised_network_keeps_its_activations_near_one(name: str) -> None:
    entry = RUNNABLE[name]
    traced, other = entry.shapes()
    model = randomise(entry.build(), 0, (seeded(traced),))
    for shape in (traced, other):
        with torch.inference_mode():
            outputs = tree_leaves(model(seeded(shape)))
        assert outputs
        for output in outputs:
            assert output.shape[0] == shape[0]
            assert output.isfinite().all()
            assert 0.1 < output.std() < 10


@torch.no_grad()
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_randomised_network_is_well_conditioned(name: str) -> None:
    """Otherwise a comparison of a fused network with it to 1e-12 would say nothing."""
    entry = RUNNABLE[name]
    x = seeded(entry.shapes()[0])
    model = randomise(entry.build(), 0, (x,)).double()
    expected = tree_leaves(model(x.double()))
    for parameter in model.parameters():
        parameter.mul_(1 + 2e-16 * torch.randn_like(parameter).sign())
    for found, right in zip(tree_leaves(model(x.double())), expected, strict=True):
        assert (found - right).abs().max() <= 1e-13 * right.abs().max()


@pytest.mark.parametrize("name", [*HAZARDS, *LIMITS])
def test_a_tiny_network_runs_at_both_of_its_sizes(name: str) -> None:
    case, shapes = (
        (HAZARDS[name], HAZARD_SHAPES) if name in HAZARDS else (LIMITS[name], LIMIT_SHAPES)
    )
    model = randomise(case.build(), 0, (seeded(shapes[0]),))
    for shape in shapes:
        x = seeded(shape)
        assert all(output.isfinite().all() for output in tree_leaves(model(x.clone())))
        calls = count_calls(model, x)
        assert calls.conv >= case.convs  # the bound can be missed
        assert calls.bn >= case.norms


def test_randomising_depends_on_the_seed_alone() -> None:
    entry = NETWORKS["repvit_m1"]
    first, again, second = (randomise(entry.build(), seed).state_dict() for seed in (0, 0, 1))
    floats = [name for name, value in first.items() if value.is_floating_point()]
    assert all(torch.equal(first[name], again[name]) for name in floats)
    assert not any(torch.equal(first[name], second[name]) for name in floats)


def test_training_reaches_the_auxiliary_heads() -> None:
    model = NETWORKS["repvggplus"].build().train()
    assert [y.shape for y in model(torch.randn(2, 3, 64, 64))] == [(2, 10)] * 4


def test_counting_sees_modules_functions_and_operators_alike() -> None:
    x, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 4, 3, 3)
    bn = nn.BatchNorm2d(4).eval()

    def forward() -> torch.Tensor:
        y = nn.functional.conv2d(x, weight, padding=1) - bn(x)
        y += x
        return torch.add(y, x) + 1

    assert count_calls(forward) == Calls(conv=1, bn=1, add=4)
    assert count_calls(nn.Conv2d(4, 4, 1), x) == Calls(conv=1, bn=0, add=0)


def test_multiplications_are_those_of_the_kernels_that_run() -> None:
    x = torch.randn(2, 4, 8, 8)
    assert count_multiplications(nn.Conv2d(4, 6, 3), x) == 2 * 6 * 6 * 6 * (4 * 9)
    assert count_multiplications(nn.Conv2d(4, 6, 3, groups=2), x) == 2 * 6 * 6 * 6 * (2 * 9)

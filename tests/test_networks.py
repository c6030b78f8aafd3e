"""The networks that the tests fuse are the published ones, and well conditioned."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from networks.counting import Calls, count_calls
from networks.randomising import randomise
from networks.zoo import BLOCKS, LARGE, NETWORKS, Entry

RUNNABLE = {**NETWORKS, **BLOCKS}
PUBLISHED = {name: e for name, e in {**NETWORKS, **LARGE}.items() if e.millions is not None}


def on_meta(entry: Entry) -> nn.Module:
    """The network without its numbers: shapes, calls and sizes only."""
    with torch.device("meta"):
        return entry.build().eval()


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
    model = randomise(entry.build(), 0, (torch.randn(traced),))
    for shape in (traced, other):
        with torch.inference_mode():
            outputs = tree_leaves(model(torch.randn(shape)))
        assert outputs
        for output in outputs:
            assert output.shape[0] == shape[0]
            assert output.isfinite().all()
            assert 0.1 < output.std() < 10


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

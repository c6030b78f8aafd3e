"""Networks whose Python misleads a tracer: the same answers, or a part left alone; never an error."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_leaves

import edgerep
from networks.counting import count_calls
from networks.hazards import HAZARDS, SHAPES
from networks.randomising import randomise

FLOAT64_REL = 1e-12  # of the largest output


@pytest.mark.parametrize("name", HAZARDS)
def test_a_hazard_gives_the_same_answers(name: str) -> None:
    hazard = HAZARDS[name]
    traced, other = (torch.randn(shape, dtype=torch.float64) for shape in SHAPES)
    model = randomise(hazard.build(), 0, (traced.float(),)).double()
    before = count_calls(model, traced)
    fused = edgerep.fuse(model, inputs=traced)
    for x in (traced, other):
        with torch.no_grad():
            pairs = zip(tree_leaves(fused.module(x.clone())), tree_leaves(model(x.clone())),
                        strict=True)  # fmt: skip
            for found, wanted in pairs:
                assert (found - wanted).abs().max() <= FLOAT64_REL * wanted.abs().max()
    calls = count_calls(fused.module, traced)
    assert calls.conv <= hazard.convs
    assert calls.bn <= hazard.norms
    assert count_calls(model, traced) == before  # the model was left as it was

"""Every network of the zoo fuses exactly, at other sizes and batches too, and completely."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import edgerep
from networks.counting import count_calls
from networks.randomising import randomise
from networks.zoo import BLOCKS, NETWORKS

ZOO = {**NETWORKS, **{f"block: {name}": entry for name, entry in BLOCKS.items()}}
FLOAT64_REL = 1e-12  # of the largest output; the prototype measured at most 1.6e-14


def relative_error(found: object, expected: object) -> float:
    """The largest difference of any output, relative to that output's largest value."""
    pairs = list(zip(tree_leaves(found), tree_leaves(expected), strict=True))
    assert pairs
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", ZOO)
def test_a_fused_network_agrees_at_other_sizes_and_has_nothing_left(name: str) -> None:
    entry = ZOO[name]
    traced, other = (torch.randn(shape, dtype=torch.float64) for shape in entry.shapes())
    model = randomise(entry.build(), 0, (traced.float(),)).double()
    fused = edgerep.fuse(model, inputs=traced)
    with torch.inference_mode():
        for x in (traced, other):
            assert relative_error(fused.module(x), model(x)) <= FLOAT64_REL
    assert count_calls(fused.module, traced) == entry.after
    assert count_calls(model, traced) == entry.before  # and the model was left as it was


def test_the_error_measured_here_sees_a_wrong_output() -> None:
    right = (torch.ones(3), [torch.ones(2)])
    wrong: tuple[Tensor, list[Tensor]] = (torch.ones(3), [torch.tensor([1.0, 1.5])])
    assert relative_error(right, right) == 0
    assert relative_error(wrong, right) == 0.5

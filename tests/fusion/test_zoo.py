"""Every network of the zoo fuses exactly, at other sizes and batches too, and completely."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import edgerep
from zoo.counting import count_calls, count_multiplications
from zoo.hazards import HAZARDS, SHAPES, CachedInATable, DataDependent
from zoo.limits import COSTS, LIMITS
from zoo.limits import SHAPES as LIMIT_SHAPES
from zoo.randomising import randomise
from zoo.zoo import BLOCKS, NETWORKS

# The code of `mobileone_s1` at other widths: nothing is found in them that is not found in that.
WIDER = ("mobileone_s2", "mobileone_s3")
FUSED_NETWORKS = {name: entry for name, entry in NETWORKS.items() if name not in WIDER}
ZOO = {**FUSED_NETWORKS, **{f"block: {name}": entry for name, entry in BLOCKS.items()}}
# A kernel of 31 taps reads beyond every border of these, at a tenth of the work.
SMALL_SHAPES = {"block: replk block": ((2, 16, 20, 20), (3, 16, 23, 17))}
FLOAT64_REL = 1e-12  # of the largest output; the prototype measured at most 1.6e-14
# Of half types: a few roundings (2^-11, 2^-8) of weights and activations each.
HALF_REL = {torch.float16: 4e-3, torch.bfloat16: 3e-2}


def double_images(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def relative_error(found: object, expected: object) -> float:
    """The largest difference of any output, relative to that output's largest value."""
    pairs = list(zip(tree_leaves(found), tree_leaves(expected), strict=True))
    assert pairs
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    # An output of zeros has to be one of zeros.
    return max(float((a - b).abs().max() / (b.abs().max() or 1)) for a, b in pairs)


@torch.no_grad()
def assert_agree(fused: nn.Module, model: nn.Module, *inputs: Tensor) -> None:
    """Both get an input of their own, in case one of them writes into it."""
    for x in inputs:
        assert relative_error(fused(x.clone()), model(x.clone())) <= FLOAT64_REL


@pytest.mark.parametrize("name", ZOO)
def test_a_fused_network_agrees_at_other_sizes_and_has_nothing_left(name: str) -> None:
    entry = ZOO[name]
    traced, other = double_images(*SMALL_SHAPES.get(name, entry.shapes()))
    model = randomise(entry.build(), 0, (traced.float(),)).double()
    fused = edgerep.fuse(model, inputs=traced)
    assert_agree(fused.module, model, traced, other)
    assert count_calls(fused.module, traced) == entry.after
    assert count_calls(model, traced) == entry.before  # and the model was left as it was


@pytest.mark.parametrize("name", FUSED_NETWORKS)
def test_a_fused_network_multiplies_no_more_than_before(name: str) -> None:
    entry = NETWORKS[name]
    (traced,) = double_images(entry.shapes()[0])
    model = randomise(entry.build(), 0, (traced.float(),)).double()
    fused = edgerep.fuse(model, inputs=traced)
    before = count_multiplications(model, traced)
    assert 0 < count_multiplications(fused.module, traced) <= before


@pytest.mark.parametrize("name", HAZARDS)
def test_a_hazard_changes_no_answer(name: str) -> None:
    hazard = HAZARDS[name]
    traced, other = double_images(*SHAPES)
    model = randomise(hazard.build(), 0, (traced.float(),)).double()
    fused = edgerep.fuse(model, inputs=traced)
    # Shifted up and down, so that both sides of a decision by value are taken.
    assert_agree(fused.module, model, traced, other, traced + 3, traced - 3)
    calls = count_calls(fused.module, traced.clone())
    assert calls.conv <= hazard.convs
    assert calls.bn <= hazard.norms


@pytest.mark.parametrize("name", LIMITS)
def test_a_sum_folds_when_it_is_exact_and_only_then(name: str) -> None:
    limit = LIMITS[name]
    traced, other = double_images(*LIMIT_SHAPES)
    model = randomise(limit.build(), 0, (traced.float(),)).double()
    fused = edgerep.fuse(model, inputs=traced)
    assert_agree(fused.module, model, traced, other)
    calls = count_calls(fused.module, traced)
    assert calls.conv <= limit.convs
    assert calls.bn <= limit.norms


@pytest.mark.parametrize("name", COSTS)
def test_what_would_cost_more_is_left_alone(name: str) -> None:
    (traced,) = double_images(LIMIT_SHAPES[0])
    model = randomise(COSTS[name].build(), 0, (traced.float(),)).double()
    fused = edgerep.fuse(model, inputs=traced)
    before = count_multiplications(model, traced)
    assert count_multiplications(fused.module, traced) <= before


def test_fusing_leaves_no_traces_in_a_network_that_caches() -> None:
    traced, other = double_images(*SHAPES)
    model = randomise(HAZARDS["cache written in forward"].build(), 0, (traced.float(),)).double()
    cached = model.grid
    edgerep.fuse(model, inputs=other)
    assert model.grid is cached


def test_what_code_writes_to_a_network_is_undone() -> None:
    (image,) = double_images(SHAPES[0])
    model = randomise(CachedInATable(), 0, (image.float(),))
    model.known.clear()
    model.seen.clear()
    model.last = None
    model.count.zero_()
    fused = edgerep.fuse(model, inputs=image.float())
    assert model.known == {}
    assert model.seen == []
    assert model.last is None
    assert model.count.item() == 0
    assert fused.module(image.float()).dtype == torch.float32
    assert [tensor.dtype for tensor in vars(fused.module)["known"].values()] == [torch.float32]


def test_code_that_decided_by_the_number_of_axes_refuses_another_number() -> None:
    (image,) = double_images(SHAPES[0])
    model = randomise(HAZARDS["branch on the number of axes"].build(), 0, (image.float(),))
    fused = edgerep.fuse(model, inputs=image.float()).module
    first, second = fused.get_submodule("1"), fused.get_submodule("2")
    assert type(first) is type(second)  # blocks of the same code share their class still
    for module in (fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        assert torch.equal(module(image.float()), fused(image.float()))
        with pytest.raises(TypeError, match=r"fused for a tensor of 4 axes.* one of 3"):
            module(image[0].float())
    exported = torch.export.export(fused, (image.float(),)).module()
    assert torch.allclose(exported(image.float()), fused(image.float()), atol=1e-5)


def test_a_hook_that_watches_still_watches_the_original() -> None:
    (traced,) = double_images(SHAPES[0])
    model = randomise(HAZARDS["hook that watches"].build(), 0, (traced.float(),)).double()
    edgerep.fuse(model, inputs=traced)
    assert len(model.get_submodule("conv")._forward_hooks) == 1


@pytest.mark.parametrize("dtype", HALF_REL, ids=str)
@pytest.mark.parametrize("name", ["repconv", "dbb 3x3", "repmixer"])
def test_a_network_of_half_numbers_stays_one_and_stays_near(name: str, dtype: torch.dtype) -> None:
    entry = BLOCKS[name]
    (traced,) = double_images(entry.shapes()[0])
    model = randomise(entry.build(), 0, (traced.float(),)).to(dtype)
    fused = edgerep.fuse(model, inputs=traced.to(dtype))
    assert {p.dtype for p in fused.module.parameters()} == {dtype}
    with torch.inference_mode():
        found = fused.module(traced.to(dtype))
        expected = model.double()(traced.to(dtype).double())
    assert found.dtype == dtype
    assert relative_error(found.double(), expected) <= HALF_REL[dtype]
    assert count_calls(fused.module, traced.to(dtype)) == entry.after


def test_the_error_measured_here_sees_a_wrong_output() -> None:
    right = (torch.ones(3), [torch.ones(2)])
    wrong = (torch.ones(3), [torch.tensor([1.0, 1.5])])
    assert relative_error(right, right) == 0
    assert relative_error(wrong, right) == 0.5


def test_the_shifted_inputs_take_both_sides_of_a_decision() -> None:
    (traced,) = double_images(SHAPES[0])
    model = randomise(DataDependent(), 0, (traced.float(),)).double()
    with torch.inference_mode():
        signs = {bool(model.stem(x).mean() > 0) for x in (traced + 3, traced - 3)}
    assert signs == {True, False}

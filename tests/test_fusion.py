"""Fusing is exact, leaves its input alone and refuses what it cannot do exactly."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgerep.architecture import VARIANTS, Architecture, BlockPlan
from edgerep.certificate import certify_block
from edgerep.errors import FusionError
from edgerep.folding import Branch, fold_slice
from edgerep.fusion import branches_of, fuse
from edgerep.repvgg import (
    ConvBatchNorm,
    PlainBlock,
    RepVGG,
    TrainBlock,
    random_repvgg,
    randomise_batchnorm,
)

SMALL = Architecture(3, 8, (8, 16), (2, 2), (1, 4, 2, 1, 2), squeeze=False, classes=5)
SQUEEZED = Architecture(1, 16, (16, 32), (1, 2), (1, 1, 1, 4), squeeze=True, classes=4)

# Parameters in millions, train and deploy, and keys of each form, counted from the official
# constructors.
PUBLISHED = {
    "RepVGG-A0": (9.109, 8.309, 351, 46), "RepVGG-A1": (14.092, 12.790, 351, 46),
    "RepVGG-A2": (28.211, 25.500, 351, 46), "RepVGG-B0": (15.818, 14.339, 453, 58),
    "RepVGG-B1": (57.415, 51.829, 453, 58), "RepVGG-B1g2": (45.782, 41.360, 453, 58),
    "RepVGG-B1g4": (39.966, 36.125, 453, 58), "RepVGG-B2": (89.022, 80.315, 453, 58),
    "RepVGG-B2g2": (70.846, 63.957, 453, 58), "RepVGG-B2g4": (61.758, 55.778, 453, 58),
    "RepVGG-B3": (123.085, 110.961, 453, 58), "RepVGG-B3g2": (96.912, 87.405, 453, 58),
    "RepVGG-B3g4": (83.825, 75.627, 453, 58), "RepVGG-D2se": (133.335, 120.388, 985, 290),
}  # fmt: skip


def random_block(plan: BlockPlan, seed: int) -> TrainBlock:
    torch.manual_seed(seed)
    block = TrainBlock(plan)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            randomise_batchnorm(module)
    return block.eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_variants_have_the_published_size(name: str) -> None:
    architecture = VARIANTS[name]
    with torch.device("meta"):
        train = RepVGG(architecture)
        plain = RepVGG(architecture, plain=[b.name for b in architecture.blocks()])
    millions = [sum(p.numel() for p in model.parameters()) / 1e6 for model in (train, plain)]
    keys = [len(model.state_dict()) for model in (train, plain)]
    assert (*(round(m, 3) for m in millions), *keys) == PUBLISHED[name]
    assert architecture.name == name
    assert replace(architecture, classes=7).name == name


@settings(max_examples=60, deadline=None)
@given(
    per_group=st.integers(1, 5), groups=st.sampled_from([1, 2, 3, 4]),
    widen=st.sampled_from([1, 2]), stride=st.sampled_from([1, 2]),
    height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_any_block_equals_its_fold_in_float64(
    per_group: int, groups: int, widen: int, stride: int, height: int, width: int, seed: int
) -> None:
    channels = per_group * groups
    plan = BlockPlan("b", channels, channels * widen, stride, groups, squeeze=False)
    block = random_block(plan, seed).double()
    image = torch.randn(2, channels, height, width, dtype=torch.float64)
    with torch.no_grad():
        truth, fold = block(image), fuse(block, certify=False).module(image)
    atol_fused_vs_train_float64 = 1e-12
    assert (fold - truth).abs().max().item() < atol_fused_vs_train_float64


@pytest.mark.parametrize("architecture", [SMALL, SQUEEZED], ids=["groups", "squeeze"])
def test_network_is_a_plain_stack_with_the_same_answers(architecture: Architecture) -> None:
    model = random_repvgg(architecture)
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    fused = fuse(model)
    blocks = len(list(architecture.blocks()))
    convs = [m for m in fused.module.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == blocks * (3 if architecture.squeeze else 1)
    assert not any(isinstance(m, nn.BatchNorm2d | TrainBlock) for m in fused.module.modules())
    assert not any(m.training for m in fused.module.modules())
    assert all(p.requires_grad for p in fused.module.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    proof = fused.certificate
    assert proof is not None
    assert proof.network is not None
    assert len(proof.blocks) == blocks
    assert proof.batchnorms_before == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert max(block.float64_rel for block in proof.blocks) < 1e-13
    assert proof.network.float64_rel < 1e-13
    assert proof.network.fused_float32_rel < 1e-5
    image = torch.randn(2, architecture.image_channels, 37, 50)
    with torch.no_grad():
        truth = copy.deepcopy(model).double()(image.double())
        error = (fused.module(image).double() - truth).norm() / truth.norm()
    rtol_fused_float32_vs_train_float64 = 2e-6
    assert error < rtol_fused_float32_vs_train_float64


def test_every_weight_is_rounded_once() -> None:
    block = random_block(BlockPlan("b", 48, 48, 1, 4, squeeze=False), 3)
    fused = fuse(block, certify=False).module
    assert isinstance(fused, PlainBlock)
    exact = fold_slice(branches_of(block), slice(0, 48))
    assert torch.equal(fused.rbr_reparam.weight, exact.float())


def test_a_kernel_of_many_slices_is_whole() -> None:
    plan = BlockPlan("b", 512, 512, 1, 1, squeeze=False)
    block = random_block(plan, 1)
    fused = fuse(block).certificate
    assert fused is not None
    assert fused.blocks[0].float64_rel < 1e-13


def test_nested_shared_and_root_blocks() -> None:
    block = random_block(BlockPlan("b", 8, 8, 1, 2, squeeze=False), 0)
    assert isinstance(fuse(block).module, PlainBlock)

    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = block, block
            self.note = "kept"

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.again(self.first(x))
            return y

    owner = Owner().eval()
    fused = fuse(owner).module
    assert isinstance(fused, Owner)
    assert fused.first is fused.again
    assert fused.note == "kept"
    assert isinstance(owner.first, TrainBlock)
    image = torch.randn(1, 8, 6, 6)
    assert torch.allclose(fused(image), owner(image), atol=1e-4)


def test_fusing_twice_changes_nothing() -> None:
    once = fuse(random_repvgg(SMALL)).module
    again = fuse(once)
    for key, tensor in again.module.state_dict().items():
        assert torch.equal(tensor, once.state_dict()[key])
    assert again.certificate is not None
    assert again.certificate.batchnorms_before == 0


def test_frozen_parameters_stay_frozen() -> None:
    model = random_repvgg(SMALL).requires_grad_(False)
    assert not any(p.requires_grad for p in fuse(model).module.parameters())


def test_training_mode_is_refused_by_name() -> None:
    model = random_repvgg(SMALL)
    with pytest.raises(FusionError, match="RepVGG is in training mode"):
        fuse(model.train())
    model.eval()
    assert isinstance(model.stage0, TrainBlock)
    model.stage0.rbr_dense.bn.train()
    with pytest.raises(FusionError, match=r"stage0\.rbr_dense\.bn is in training mode"):
        fuse(model)


def test_batchnorm_without_statistics_is_refused_by_name() -> None:
    model = random_repvgg(SMALL)
    assert isinstance(model.stage0, TrainBlock)
    model.stage0.rbr_1x1.bn = nn.BatchNorm2d(8, track_running_stats=False).eval()
    with pytest.raises(FusionError, match=r"stage0.*running statistics"):
        fuse(model)


def test_batchnorm_without_affine_is_folded() -> None:
    block = random_block(BlockPlan("b", 4, 4, 1, 1, squeeze=False), 0)
    block.rbr_dense.bn = nn.BatchNorm2d(4, affine=False).eval()
    proof = fuse(block).certificate
    assert proof is not None
    assert proof.blocks[0].float64_rel < 1e-14


def test_nothing_to_fuse_is_said() -> None:
    with pytest.raises(FusionError, match="no re-parameterizable block"):
        fuse(nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()).eval())


def test_certificate_refuses_a_wrong_fold() -> None:
    block = random_block(BlockPlan("stage9.9", 8, 8, 1, 1, squeeze=False), 0)
    assert isinstance(block.rbr_dense, ConvBatchNorm)
    branches = branches_of(block)
    wrong = Branch(block.rbr_1x1.conv.weight * (1 + 1e-6), branches[1].affine)
    norms = (block.rbr_dense.bn, block.rbr_1x1.bn, block.rbr_identity)
    fused = fuse(block, certify=False).module
    assert isinstance(fused, PlainBlock)
    good = certify_block("x", branches, [n for n in norms if n], fused.rbr_reparam)
    assert good.float64_rel < 1e-14
    broken = [n for n in norms if n]
    broken[1] = copy.deepcopy(broken[1])
    broken[1].eps = 1e-3  # the branches were folded with 1e-5
    with pytest.raises(FusionError, match=r"stage9\.9"):
        certify_block("stage9.9", (branches[0], wrong, branches[2]), broken, fused.rbr_reparam)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_networks_fuse_through_float64(dtype: torch.dtype) -> None:
    block = random_block(BlockPlan("b", 8, 8, 1, 2, squeeze=False), 0).to(dtype)
    fused = fuse(block, certify=False).module
    assert isinstance(fused, PlainBlock)
    assert fused.rbr_reparam.weight.dtype == dtype
    exact = fold_slice(branches_of(block), slice(0, 8))
    assert torch.equal(fused.rbr_reparam.weight, exact.to(dtype))

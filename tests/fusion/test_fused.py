"""Fusing is exact, leaves its input alone and refuses what it cannot do exactly."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import utils
from torch.nn.utils import prune

from edgerep.bench.report.text.certificate import certificate_text
from edgerep.errors import FusionError
from edgerep.fusion.algebra.linear_map import LinearMap, convolution_map
from edgerep.fusion.algebra.sums import total
from edgerep.fusion.fused import fuse
from edgerep.fusion.operators import layers as layer_steps
from edgerep.networks.layers import ConvBatchNorm, randomise_batchnorm
from edgerep.networks.repvgg import RepVGG, TrainBlock, random_repvgg
from edgerep.networks.repvgg_architecture import VARIANTS, Architecture, BlockPlan
from zoo.branches import branch_maps

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
        truth = block(image)
        fold = fuse(block, inputs=image, certify=False).module(image)
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
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.module.modules())
    assert not any(m.training for m in fused.module.modules())
    assert all(p.requires_grad for p in fused.module.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    proof = fused.certificate
    assert proof is not None
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


def fused_conv(block: TrainBlock) -> nn.Conv2d:
    found = fuse(block, inputs=image_for(block), certify=False).module.get_submodule("rbr_reparam")
    assert isinstance(found, nn.Conv2d)
    return found


def image_for(block: TrainBlock) -> torch.Tensor:
    weight = block.rbr_dense.conv.weight
    return torch.randn(2, block.plan.in_channels, 6, 7).to(weight.dtype)


def exact_kernel(block: TrainBlock) -> torch.Tensor:
    return total([(1.0, branch) for branch in branch_maps(block)]).kernel()


def test_every_weight_is_rounded_once() -> None:
    block = random_block(BlockPlan("b", 48, 48, 1, 4, squeeze=False), 3)
    assert torch.equal(fused_conv(block).weight, exact_kernel(block).float())


def test_a_kernel_of_many_slices_is_whole() -> None:
    plan = BlockPlan("b", 512, 512, 1, 1, squeeze=False)
    block = random_block(plan, 1)
    fused = fuse(block, inputs=image_for(block)).certificate
    assert fused is not None
    assert fused.blocks[0].float64_rel < 1e-13


def test_nested_shared_and_root_blocks() -> None:
    block = random_block(BlockPlan("b", 8, 8, 1, 2, squeeze=False), 0)

    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = block, block
            self.note = "kept"

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.again(self.first(x))
            return y

        def features(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.first(x)
            return y

    owner = Owner().eval()
    image = torch.randn(1, 8, 6, 6)
    fused = fuse(owner, inputs=image).module
    assert isinstance(fused, Owner)
    assert isinstance(fused.first, TrainBlock)  # of the same class, with other code
    assert fused.first is fused.again
    assert list(fused.state_dict()) == [
        f"{path}.rbr_reparam.{kind}" for path in ("first", "again") for kind in ("weight", "bias")
    ]
    assert fused.note == "kept"
    assert isinstance(owner.first.rbr_dense, ConvBatchNorm)
    assert torch.allclose(fused(image), owner(image), atol=1e-4)
    assert torch.allclose(fused.features(image), owner.features(image), atol=1e-4)


def test_a_fused_network_can_be_copied_pickled_and_moved() -> None:
    model = random_repvgg(SMALL)
    fused = fuse(model).module
    image = torch.randn(2, 3, 20, 24)
    stream = io.BytesIO()
    torch.save(fused, stream)
    stream.seek(0)
    back = torch.load(stream, weights_only=False)  # written three lines above
    with torch.no_grad():
        for twin in (copy.deepcopy(fused), back):
            assert torch.equal(twin(image), fused(image))
        double = copy.deepcopy(fused).double()
        assert double(image.double()).dtype == torch.float64


def test_fused_weights_are_the_networks_own() -> None:
    model = random_repvgg(SMALL)
    fused = fuse(model).module
    theirs = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert not theirs & {tensor.data_ptr() for tensor in fused.state_dict().values()}


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


def test_batchnorm_without_statistics_is_left_and_named() -> None:
    model = random_repvgg(SMALL)
    assert isinstance(model.stage0, TrainBlock)
    model.stage0.rbr_1x1.bn = nn.BatchNorm2d(8, track_running_stats=False).eval()
    fused = fuse(model)
    assert fused.certificate is not None
    assert [name for name, _ in fused.certificate.left_unfused] == ["stage0.rbr_1x1.bn"]
    assert "no running statistics" in fused.certificate.left_unfused[0][1]
    assert fused.certificate.batchnorms_left == 1
    image = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        assert torch.allclose(fused.module(image), model(image), atol=1e-4)


def test_batchnorm_without_affine_is_folded() -> None:
    block = random_block(BlockPlan("b", 4, 4, 1, 1, squeeze=False), 0)
    block.rbr_dense.bn = nn.BatchNorm2d(4, affine=False).eval()
    proof = fuse(block, inputs=image_for(block)).certificate
    assert proof is not None
    assert proof.blocks[0].float64_rel < 1e-14


def test_nothing_to_fuse_gives_an_equal_network() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()).eval()
    fused = fuse(model)
    assert fused.certificate is not None
    assert fused.certificate.blocks == ()
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(fused.module(image), model(image))
    assert fused.module is not model


def test_ties_and_hooks_that_vanish_are_said() -> None:
    model = random_repvgg(SMALL)
    assert isinstance(model.stage1, nn.Sequential)
    first, second = model.stage0, model.stage1[1]
    assert isinstance(first, TrainBlock)
    assert isinstance(second, TrainBlock)
    second.rbr_1x1.bn.weight = second.rbr_dense.bn.weight
    first.rbr_dense.register_forward_hook(lambda *_: None)
    certificate = fuse(model).certificate
    assert certificate is not None
    tie, hook = certificate.notes
    assert "stage1.1.rbr_dense.bn.weight and stage1.1.rbr_1x1.bn.weight are one tensor" in tie
    assert "hooks on stage0.rbr_dense are gone" in hook


def test_certificate_refuses_a_wrong_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is off by a millionth in one branch."""
    honest = convolution_map

    def wrong(weight: torch.Tensor, bias: torch.Tensor | None, **options: Any) -> LinearMap:
        made = honest(weight, bias, **options)
        if weight.shape[-1] != 1:
            return made
        return replace(made, rows=lambda rows: made.rows(rows) * (1 + 1e-6))

    model = random_repvgg(SMALL)
    monkeypatch.setattr(layer_steps, "convolution_map", wrong)
    with pytest.raises(FusionError, match=r"stage0\.rbr_reparam.*must not be fused"):
        fuse(model)
    assert fuse(model, certify=False).certificate is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_networks_fuse_through_float64(dtype: torch.dtype) -> None:
    block = random_block(BlockPlan("b", 8, 8, 1, 2, squeeze=False), 0).to(dtype)
    weight = fused_conv(block).weight
    assert weight.dtype == dtype
    assert torch.equal(weight, exact_kernel(block).to(dtype))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "compute",
    [
        utils.weight_norm,
        utils.spectral_norm,
        partial(prune.l1_unstructured, name="weight", amount=0.4),
        partial(prune.random_unstructured, name="bias", amount=0.5),
        utils.parametrizations.weight_norm,
    ],
    ids=["weight norm", "spectral norm", "pruned weight", "pruned bias", "parametrisation"],
)
def test_a_layer_whose_weight_torch_computes_is_folded(
    compute: Callable[[nn.Module], object],
) -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    randomise_batchnorm(norm)
    compute(conv)
    for name, parameter in conv.named_parameters():
        if name.endswith("_g"):
            parameter.data *= 3
    network = nn.Sequential(conv, norm).eval()
    images = torch.randn(2, 3, 8, 8)
    wanted = network(images)
    fused = fuse(network, inputs=images).module
    assert [type(part) for part in fused.modules()][1:] == [nn.Conv2d, nn.Identity]
    torch.testing.assert_close(fused(images), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network(images), wanted, rtol=0, atol=0)


class Chaos(nn.Module):
    """Convolution and BatchNorm, then the logistic map, which doubles every error 60 times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sigmoid(self.bn(self.conv(x)))
        for _ in range(60):
            y = 4 * y * (1 - y)
        return y


def test_a_chaotic_network_is_fused_and_the_whole_called_undecidable() -> None:
    fused = fuse(Chaos().eval(), inputs=torch.randn(2, 3, 9, 9))
    assert fused.certificate is not None
    assert not fused.certificate.network.decidable
    assert fused.certificate.blocks[0].float64_rel < 1e-14
    assert "chaotic" in certificate_text(fused.certificate)


class Deep(nn.Module):
    """A sum in the root's own code takes in one child's code, and with it that of a grandchild."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = Outer()
        self.side = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.outer(x) + self.side(x)
        return torch.relu(y)


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.bn(self.conv(x))
        self.kept = torch.tanh(self.inner(x)).mean()
        return y


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.a(x) + self.b(x)
        return y


def test_code_that_is_written_out_brings_in_the_sites_of_deeper_modules() -> None:
    model, x = Deep().eval(), torch.randn(2, 4, 9, 8)
    fused = fuse(model, inputs=x)
    with torch.no_grad():
        assert torch.allclose(fused.module(x), model(x), atol=1e-5)


class SumAndWrite(nn.Module):
    """A sum of two layers, and a write to the input that they read."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.a(x) + self.b(x)
        x.mul_(-3)
        return y


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.part = nn.Conv2d(3, 4, 1), SumAndWrite()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y: torch.Tensor = torch.relu(self.part(x)) + x
        return y


def test_a_module_that_also_writes_is_not_replaced() -> None:
    model, x = Around().eval(), torch.randn(2, 3, 9, 8)
    fused = fuse(model, inputs=x, certify=False).module
    assert len([part for part in fused.modules() if isinstance(part, nn.Conv2d)]) == 2
    with torch.no_grad():
        assert torch.allclose(fused(x), model(x), atol=1e-5)


def test_a_fused_network_that_cannot_be_run_is_an_error_of_fusing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise TypeError("takes no images\nbut something else")

    monkeypatch.setattr("edgerep.fusion.proof.certification.exact_network", lambda *_: Broken())
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with pytest.raises(FusionError, match=r"Sequential cannot be run .* takes no images; this"):
        fuse(model, inputs=torch.randn(1, 3, 8, 8))

"""The notebook that edgerep grew from: one block in three forms with the same output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgerep.architecture import BlockPlan
from edgerep.folding import fold_bias, fold_slice, identity_kernel, widen_kernel
from edgerep.fusion import branches_of
from edgerep.repvgg import TrainBlock

IMAGE = torch.ones(1, 2, 3, 3, dtype=torch.float64)


def seed_block() -> TrainBlock:
    """Two channels, BatchNorm weight, bias and mean from N(0, 1), variance 0.5, eval mode."""
    torch.manual_seed(0)
    block = TrainBlock(BlockPlan("seed", 2, 2, stride=1, groups=1, squeeze=False))
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.constant_(module.running_var, 0.5)
    return block.double().eval()


def three_branches(block: TrainBlock, x: Tensor) -> Tensor:
    """Form (a): the block as it is trained, without its ReLU."""
    assert block.rbr_identity is not None
    total: Tensor = block.rbr_dense(x) + block.rbr_1x1(x) + block.rbr_identity(x)
    return total


def widened_branches(block: TrainBlock, x: Tensor) -> Tensor:
    """Form (b): every branch a 3x3 convolution, the BatchNorms untouched."""
    assert block.rbr_identity is not None
    kernels = [
        (block.rbr_dense.conv.weight, block.rbr_dense.bn),
        (widen_kernel(block.rbr_1x1.conv.weight, 3), block.rbr_1x1.bn),
        (identity_kernel(2, 1, 3), block.rbr_identity),
    ]
    parts = [bn(nn.functional.conv2d(x, kernel, padding=1)) for kernel, bn in kernels]
    return torch.stack(parts).sum(0)


def one_convolution(block: TrainBlock, x: Tensor) -> Tensor:
    """Form (c): one kernel and one bias."""
    branches = branches_of(block)
    kernel = fold_slice(branches, slice(0, 2))
    return nn.functional.conv2d(x, kernel, fold_bias(branches), padding=1)


@torch.no_grad()
def test_the_three_forms_give_the_same_output() -> None:
    block = seed_block()
    trained = three_branches(block, IMAGE)
    assert trained.abs().max() > 0.1
    for form in (widened_branches, one_convolution):
        error = (form(block, IMAGE) - trained).abs().max().item()
        assert error < 1e-14, (form.__name__, error)


@torch.no_grad()
def test_the_notebooks_formula_without_eps_is_off_in_the_fourth_decimal_or_so() -> None:
    block = seed_block()
    with_eps = one_convolution(block, IMAGE)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    without = one_convolution(block, IMAGE)
    assert 1e-6 < (with_eps - without).abs().max().item() < 1e-3

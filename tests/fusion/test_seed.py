"""The notebook that edgerep grew from: one block in three forms with the same output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgerep.fusion.algebra.linear_map import identity_map
from edgerep.fusion.algebra.sums import total
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import TrainBlock
from edgerep.networks.repvgg_architecture import BlockPlan
from zoo.branches import conv_map

IMAGE = torch.ones(1, 2, 3, 3, dtype=torch.float64)


class SeedBlock(TrainBlock):
    """Without the ReLU, as in the notebook."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.rbr_identity is not None
        y: Tensor = self.rbr_dense(x) + self.rbr_1x1(x) + self.rbr_identity(x)
        return y


def seed_block() -> SeedBlock:
    """Two channels, BatchNorm weight, bias and mean from N(0, 1), variance 0.5, eval mode."""
    torch.manual_seed(0)
    block = SeedBlock(BlockPlan("seed", 2, 2, stride=1, groups=1, squeeze=False))
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.constant_(module.running_var, 0.5)
    return block.double().eval()


def widened_branches(block: TrainBlock, x: Tensor) -> Tensor:
    """Form (b): every branch a 3x3 convolution, the BatchNorms untouched.

    A map plus zero times the 3x3 branch is the map, written with a 3x3 kernel.
    """
    assert block.rbr_identity is not None
    dense, pointwise = conv_map(block.rbr_dense.conv), conv_map(block.rbr_1x1.conv)
    kernels = [
        (dense.kernel(), block.rbr_dense.bn),
        (total([(1.0, pointwise), (0.0, dense)]).kernel(), block.rbr_1x1.bn),
        (total([(1.0, identity_map(2, 2)), (0.0, dense)]).kernel(), block.rbr_identity),
    ]
    assert all(kernel.shape == (2, 2, 3, 3) for kernel, _ in kernels)
    assert torch.equal(kernels[2][0][:, :, 1, 1], torch.eye(2, dtype=torch.float64))
    parts = [bn(nn.functional.conv2d(x, kernel, padding=1)) for kernel, bn in kernels]
    return torch.stack(parts).sum(0)


def one_convolution(block: TrainBlock, x: Tensor) -> Tensor:
    """Form (c): one kernel and one bias, which is what `fuse` makes of it."""
    fused = fuse(block, inputs=x).module
    convolutions = [part for part in fused.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) == 1
    assert convolutions[0].kernel_size == (3, 3)
    y: Tensor = fused(x)
    return y


@torch.no_grad()
def test_the_three_forms_give_the_same_output() -> None:
    block = seed_block()
    trained = block(IMAGE)
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

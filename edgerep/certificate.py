"""The proof that comes with a fusion: what was folded, and how far it is from what it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgerep.errors import FusionError
from edgerep.float64 import Float64Arithmetic
from edgerep.folding import (
    Branch,
    float64_device,
    fold_bias,
    fold_slice,
    output_slices,
)

# Both sides are computed in float64, whose unit roundoff is 1.1e-16; a fold is wrong far above
# this and right far below it. The networks measured so far stay under 1e-13.
FLOAT64_BOUND = 1e-10
_PROBE_SIZE = 5  # odd, so that stride 2 and both borders are exercised


@dataclass(frozen=True, slots=True)
class BlockCertificate:
    """One block, before and after.

    Attributes:
        name: Path of the block in the network.
        branches: How many were summed; 1 for a block that was a plain convolution already.
        batchnorms: How many were folded.
        kind: The branches in words: "3x3 + 1x1 + identity".
        float64_max_abs: Largest difference between the unfused and the fused block, both in
            float64, on a random image.
        float64_rel: The same as a relative L2 error.
        float32_rel: Relative L2 error of the fused float32 convolution against the unfused
            block in float64: what rounding the folded weights and computing in float32 costs.
    """

    name: str
    branches: int
    batchnorms: int
    kind: str
    float64_max_abs: float
    float64_rel: float
    float32_rel: float


@dataclass(frozen=True, slots=True)
class NetworkCertificate:
    """The whole network on one random batch, against itself unfused in float64 (relative L2).

    Attributes:
        float64_rel: Fused in float64, weights not rounded.
        fused_float32_rel: Fused, in float32: what will be deployed.
        unfused_float32_rel: Unfused, in float32: the error it had anyway.
    """

    float64_rel: float
    fused_float32_rel: float
    unfused_float32_rel: float
    batch_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """Everything that was folded, with its error.

    Attributes:
        architecture: Name of the architecture or of the module's class.
        source_format: Format of the checkpoint the network was read from.
        bn_eps: The distinct eps of the folded BatchNorms; a `state_dict` does not carry them.
        blocks: In order of execution.
        network: None where the network was not run as a whole.
        branches_before: Of all blocks; as many as blocks are left after.
        batchnorms_before: Folded ones; none of them is left.
        parameters_before: Parameters of the network (BatchNorm statistics are not parameters).
        parameters_after: The same of the fused network.
        left_unfused: Blocks that could not be folded, and why.
    """

    architecture: str
    source_format: str
    bn_eps: tuple[float, ...]
    blocks: tuple[BlockCertificate, ...]
    network: NetworkCertificate | None
    parameters_before: int
    parameters_after: int
    left_unfused: tuple[tuple[str, str], ...] = ()

    @property
    def branches_before(self) -> int:
        return sum(block.branches for block in self.blocks)

    @property
    def batchnorms_before(self) -> int:
        return sum(block.batchnorms for block in self.blocks)

    def to_json(self) -> dict[str, Any]:
        """The fields of `edgerep fuse --json`."""
        fields = asdict(self)
        fields["left_unfused"] = [{"name": n, "reason": why} for n, why in self.left_unfused]
        fields["branches_before"] = self.branches_before
        fields["branches_after"] = len(self.blocks)
        fields["batchnorms_before"] = self.batchnorms_before
        fields["batchnorms_after"] = 0
        return fields


def relative_l2(value: Tensor, truth: Tensor) -> float:
    """Relative L2 distance of `value` from `truth`, in float64; 0 for two zeros."""
    truth = truth.double()
    distance = float(torch.linalg.vector_norm(value.double() - truth))
    scale = float(torch.linalg.vector_norm(truth))
    return distance / scale if scale else distance


@torch.no_grad()
def certify_block(
    name: str,
    branches: Sequence[Branch],
    batchnorms: Sequence[nn.BatchNorm2d],
    conv: nn.Conv2d,
) -> BlockCertificate:
    """Compare a block's branches, run as they stand, with their fold, in slices of the outputs.

    The unfused side runs the convolutions and the BatchNorms' own formula; it shares nothing with
    the fold but the weights.

    Raises:
        FusionError: They differ by more than `FLOAT64_BOUND`, or give no finite numbers.
    """
    device = float64_device(conv.weight.device)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(
        2, conv.in_channels, _PROBE_SIZE, _PROBE_SIZE, generator=generator, dtype=torch.float64
    ).to(device)
    truths, folded = [], []
    bias = fold_bias(branches)
    for rows in output_slices(conv.weight.shape):
        truths.append(_unfused_rows(branches, batchnorms, conv, image, rows))
        kernel = fold_slice(branches, rows)
        folded.append(_convolve_rows(image, kernel, conv, rows) + bias[rows].reshape(-1, 1, 1))
    truth, fold = torch.cat(truths, 1), torch.cat(folded, 1)
    plain = conv(image.to(conv.weight.device, conv.weight.dtype)).to(device)
    relative = relative_l2(fold, truth)
    if not relative <= FLOAT64_BOUND:  # also refuses NaN
        raise FusionError(
            f"{name}: folded and unfolded block differ by {relative:.1e} (relative L2, both in "
            f"float64), more than {FLOAT64_BOUND:.0e}: this block must not be fused"
        )
    return BlockCertificate(
        name=name,
        branches=len(branches),
        batchnorms=len(batchnorms),
        kind=" + ".join(_words(branch) for branch in branches),
        float64_max_abs=(fold - truth).abs().max().item(),
        float64_rel=relative,
        float32_rel=relative_l2(plain, truth),
    )


@torch.no_grad()
def certify_network(
    unfused: nn.Module, fused: nn.Module, exact: nn.Module, images: Tensor
) -> NetworkCertificate:
    """Compare the whole network before and after on `images`, [N, C, H, W], float32.

    Args:
        unfused: As it was trained, in eval mode.
        fused: What will be deployed.
        exact: The fused network with its folded weights in float64, not rounded.
        images: One batch, on the networks' device.
    """
    device = float64_device(images.device)
    if device != images.device:
        raise FusionError("a network on a device without float64 must be certified on the CPU")
    with Float64Arithmetic():
        truth = unfused(images.double())
        folded = exact(images.double())
    return NetworkCertificate(
        float64_rel=relative_l2(folded, truth),
        fused_float32_rel=relative_l2(fused(images), truth),
        unfused_float32_rel=relative_l2(unfused(images), truth),
        batch_shape=tuple(images.shape),
    )


def _unfused_rows(
    branches: Sequence[Branch],
    batchnorms: Sequence[nn.BatchNorm2d],
    conv: nn.Conv2d,
    image: Tensor,
    rows: slice,
) -> Tensor:
    total = torch.zeros((), dtype=torch.float64, device=image.device)
    for branch, bn in zip(branches, batchnorms, strict=True):
        if branch.weight is None:
            y = image[:, rows]
        else:
            y = _convolve_rows(image, branch.weight.detach()[rows].to(image), conv, rows)
        mean, variance, weight, shift = (
            None if t is None else t.detach()[rows].to(y)
            for t in (bn.running_mean, bn.running_var, bn.weight, bn.bias)
        )
        total = total + nn.functional.batch_norm(y, mean, variance, weight, shift, eps=bn.eps)
    return total


def _convolve_rows(image: Tensor, kernel: Tensor, conv: nn.Conv2d, rows: slice) -> Tensor:
    """Output channels `rows` of a grouped convolution, given only their kernels.

    A slice may begin and end inside a group, so each group's share is convolved by itself.
    """
    stride = conv.stride[0]
    padding = kernel.shape[-1] // 2
    if conv.groups == 1:
        return nn.functional.conv2d(image, kernel, stride=stride, padding=padding)
    per_group, columns = conv.out_channels // conv.groups, kernel.shape[1]
    parts = []
    for group in range(rows.start // per_group, (rows.stop - 1) // per_group + 1):
        first = max(rows.start, group * per_group) - rows.start
        last = min(rows.stop, (group + 1) * per_group) - rows.start
        inputs = image[:, group * columns : (group + 1) * columns]
        parts.append(
            nn.functional.conv2d(inputs, kernel[first:last], stride=stride, padding=padding)
        )
    return torch.cat(parts, 1)


def _words(branch: Branch) -> str:
    if branch.weight is None:
        return "identity"
    return f"{branch.weight.shape[-2]}x{branch.weight.shape[-1]}"

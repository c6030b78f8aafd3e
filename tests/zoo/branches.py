"""The branches of a RepVGG block as linear maps, put together by hand."""

from __future__ import annotations

from torch import Tensor, nn

from edgerep.fusion.algebra.linear_map import LinearMap, convolution_map, diagonal_map
from edgerep.fusion.algebra.sequence import after
from edgerep.networks.layers import ConvBatchNorm
from edgerep.networks.repvgg import TrainBlock
from edgerep.torch_modules.float64 import widened


def conv_map(conv: nn.Conv2d) -> LinearMap:
    padding = conv.kernel_size[0] // 2
    return convolution_map(
        conv.weight,
        conv.bias,
        stride=conv.stride,
        before=(padding, padding),
        after=(padding, padding),
        dilation=(1, 1),
        groups=conv.groups,
    )


def batchnorm_map(bn: nn.BatchNorm2d) -> LinearMap:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = widened(bn.weight) / (widened(bn.running_var) + bn.eps).sqrt()
    shift: Tensor = widened(bn.bias) - widened(bn.running_mean) * scale
    return diagonal_map(lambda: scale, lambda: shift, bn.num_features, 2)


def branch_maps(block: TrainBlock) -> tuple[LinearMap, ...]:
    """3x3, 1x1 and, where the block has it, identity: each with its BatchNorm."""

    def branch(part: ConvBatchNorm) -> LinearMap:
        return after(batchnorm_map(part.bn), conv_map(part.conv))

    maps = [branch(block.rbr_dense), branch(block.rbr_1x1)]
    if block.rbr_identity is not None:
        maps.append(batchnorm_map(block.rbr_identity))
    return tuple(maps)

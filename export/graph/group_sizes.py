"""Grouped convolutions that TensorRT has no int8 kernels for.

Source: NVIDIA's reference of `IConvolutionLayer::setNbGroups` ("When using groups in int8 mode, the
size of the groups must be a multiple of 4 for both input and output"). TensorRT 8.6.0 on an H100
found no implementation for groups of 2 and 3 channels, and had kernels for depthwise convolutions.
"""

from __future__ import annotations

_MULTIPLE = 4


def unfit_groups(taken: int, given: int, groups: int) -> str:
    """Why a convolution in int8 is none for TensorRT's kernels; "" if it is one.

    Args:
        taken: Input channels of a group.
        given: Output channels of a group.
        groups: How many there are.
    """
    depthwise = taken == given == 1
    if groups == 1 or depthwise or (taken % _MULTIPLE == 0 and given % _MULTIPLE == 0):
        return ""
    return (
        f"its groups take {taken} and give {given} channels, and TensorRT's int8 kernels want "
        f"multiples of {_MULTIPLE}"
    )

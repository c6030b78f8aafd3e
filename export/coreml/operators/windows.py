"""Operators that slide a window over the image: convolution and pooling.

Sources: the ONNX operator reference and the MIL operator reference. ONNX writes pads as all
beginnings, then all ends; MIL as a beginning and an end for each dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgerep.export.coreml.node import OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb


def conv(node: OnnxNode) -> Var:
    x, weight = node.data(0), node.constant(1)  # [N, C, ...], [C_out, C/groups, ...]
    kernel = weight.shape[2:]
    node.require("kernel_shape", list(kernel))
    strides = node.get("strides", [1] * len(kernel))
    dilations = node.get("dilations", [1] * len(kernel))
    pads = _pads(node, kernel, strides, dilations)
    bias = {"bias": node.constant(2)} if node.has(2) else {}
    return mb.conv(
        x=x, weight=weight, **bias, strides=strides, dilations=dilations,
        groups=node.get("group", 1), pad_type=_pad_type(pads), pad=pads, name=node.result,
    )  # fmt: skip


def max_pool(node: OnnxNode) -> Var:
    node.require("storage_order", 0)
    return mb.max_pool(x=node.data(0), **_pool_window(node), name=node.result)


def average_pool(node: OnnxNode) -> Var:
    exclude = not node.get("count_include_pad", 0)
    return mb.avg_pool(
        x=node.data(0), **_pool_window(node), exclude_padding_from_average=exclude,
        name=node.result,
    )  # fmt: skip


def _pool_window(node: OnnxNode) -> dict[str, object]:
    kernel = node.get("kernel_shape", None)
    ones = [1] * len(kernel)
    node.require("dilations", ones)
    strides = node.get("strides", ones)
    pads = _pads(node, kernel, strides, ones)
    if node.get("ceil_mode", 0):
        _require_exact_cover(node, kernel, strides, pads)
    return {
        "kernel_sizes": kernel, "strides": strides, "pad_type": _pad_type(pads), "pad": pads,
    }  # fmt: skip


def _require_exact_cover(
    node: OnnxNode, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]
) -> None:
    # Runtimes disagree about a last window that hangs over the edge; without one, rounding up
    # and rounding down are the same and the attribute means nothing.
    for axis, size in enumerate(node.data(0).shape[2:]):
        if (size + pads[2 * axis] + pads[2 * axis + 1] - kernel[axis]) % strides[axis]:
            node.refuse("`ceil_mode` is 1 and the last window hangs over the edge of the image")


def _pads(
    node: OnnxNode, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """Pads in MIL's order: beginning and end of each spatial dimension."""
    mode, rank = node.get("auto_pad", "NOTSET"), len(kernel)
    if mode == "NOTSET":
        pads = node.get("pads", [0] * (2 * rank))
        return [pads[axis + end * rank] for axis in range(rank) for end in (0, 1)]
    if mode == "VALID":
        return [0] * (2 * rank)
    result = []
    for size, window, stride, dilation in zip(
        node.data(0).shape[2:], kernel, strides, dilations, strict=True
    ):
        covered = (-(-size // stride) - 1) * stride + (window - 1) * dilation + 1
        total = max(covered - size, 0)
        first = total // 2 if mode == "SAME_UPPER" else total - total // 2
        result += [first, total - first]
    return result


def _pad_type(pads: Sequence[int]) -> str:
    return "custom" if any(pads) else "valid"

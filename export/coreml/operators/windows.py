"""Operators that slide a window over the image: convolution and pooling.

Sources: the ONNX operator reference and the MIL operator reference. ONNX writes pads as all
beginnings, then all ends; MIL as a beginning and an end for each dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgerep.export.coreml.node import OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb, types


def conv(node: OnnxNode) -> Var:
    x, weight = node.data(0), node.weight(1)  # [N, C, ...], [C_out, C/groups, ...]
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
    window, pads, hanging = _pool_window(node)
    return mb.max_pool(x=node.data(0), **window, **_padded(pads, hanging), name=node.result)


def average_pool(node: OnnxNode) -> Var:
    """Emit `AveragePool`; what a last window covers beyond image and pads counts in no average."""
    x = node.data(0)
    window, pads, hanging = _pool_window(node)
    exclude = not node.get("count_include_pad", 0)
    if any(hanging) and not exclude:  # MIL counts all that is beyond the image, or nothing
        if any(pads):
            zero = types.nptype_from_builtin(x.dtype)(0)
            x = mb.pad(x=x, pad=pads, mode="constant", constant_val=zero,
                       name=f"{node.result}_padded")  # fmt: skip
            pads = [0] * len(pads)
        exclude = True
    return mb.avg_pool(
        x=x, **window, **_padded(pads, hanging), exclude_padding_from_average=exclude,
        name=node.result,
    )  # fmt: skip


def _pool_window(node: OnnxNode) -> tuple[dict[str, Any], list[int], list[int]]:
    """A pool's window; its pads; and how far a last window hangs over, by `ceil_mode`, in pads."""
    kernel = node.get("kernel_shape", None)
    ones = [1] * len(kernel)
    node.require("dilations", ones)
    strides = node.get("strides", ones)
    pads = _pads(node, kernel, strides, ones)
    hanging = [0] * len(pads)
    for axis, size in enumerate(node.data(0).shape[2:] if node.get("ceil_mode", 0) else ()):
        begin, end = pads[2 * axis : 2 * axis + 2]
        more = -(size + begin + end - kernel[axis]) % strides[axis]
        if more and end + more >= kernel[axis]:  # about such a window runtimes disagree
            node.refuse("`ceil_mode` is 1 and the last window begins behind the image")
        hanging[2 * axis + 1] = more
    return {"kernel_sizes": kernel, "strides": strides}, pads, hanging


def _padded(pads: Sequence[int], hanging: Sequence[int]) -> dict[str, Any]:
    both = [pad + more for pad, more in zip(pads, hanging, strict=True)]
    return {"pad_type": _pad_type(both), "pad": both}


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

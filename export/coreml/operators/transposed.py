"""Transposed convolution.

ONNX says how many rows come out by pads and an `output_padding`, or by the shape itself; MIL by
pads alone. What both mean: of all rows that the kernel reaches, some are cut off at either end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgerep.export.coreml.node import OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb, types
from edgerep.export.coreml.sizes import is_known


def conv_transpose(node: OnnxNode) -> Var:
    x, weight = node.data(0), node.weight(1)  # [N, C, ...], [C, C_out/groups, ...]
    kernel = weight.shape[2:]
    node.require("kernel_shape", list(kernel))
    ones = [1] * len(kernel)
    strides, dilations = node.get("strides", ones), node.get("dilations", ones)
    cuts, missing = _cuts(node, x.shape[2:], kernel, strides, dilations)
    bias = {"bias": node.constant(2)} if node.has(2) else {}
    options = {
        "strides": strides, "dilations": dilations, "groups": node.get("group", 1),
        "pad_type": "custom" if any(cuts) else "valid", "pad": cuts,
    }  # fmt: skip
    if not any(missing):
        return mb.conv_transpose(x=x, weight=weight, **bias, **options, name=node.result)
    # Rows beyond the kernel's reach hold the bias alone.
    y = mb.conv_transpose(x=x, weight=weight, **options, name=f"{node.result}_reached")
    zero = types.nptype_from_builtin(x.dtype)(0)
    around = [0] * 4 + [size for end in missing for size in (0, end)]
    name = f"{node.result}_padded" if bias else node.result
    y = mb.pad(x=y, pad=around, mode="constant", constant_val=zero, name=name)
    if not bias:
        return y
    shift = np.asarray(node.constant(2)).reshape(-1, *ones)
    return mb.add(x=y, y=shift, name=node.result)


def _cuts(
    node: OnnxNode,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """What to cut off, a beginning and an end for each dimension, and rows missing at each end."""
    rank, mode = len(kernel), node.get("auto_pad", "NOTSET")
    extra, shape = node.get("output_padding", [0] * rank), node.get("output_shape", None)
    pads = node.get("pads", [0] * (2 * rank))
    if not all(map(is_known, sizes)):
        node.refuse("its input has a side of open size")
    cuts, missing = [], []
    for axis, size in enumerate(sizes):
        reached = strides[axis] * (size - 1) + (kernel[axis] - 1) * dilations[axis] + 1
        if shape is None and mode in ("NOTSET", "VALID"):
            begin, end = (0, 0) if mode == "VALID" else (pads[axis], pads[axis + rank])
            end -= extra[axis]
        else:
            wanted = size * strides[axis] if shape is None else shape[axis - rank]
            total = reached + extra[axis] - wanted
            if total < 0:
                node.refuse(f"its output of {wanted} rows is larger than the kernel reaches")
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
            end = total - begin - extra[axis]
        if begin < 0 or pads[axis + rank] < 0:
            node.refuse(f"its pads {list(pads)} are negative")
        cuts += [begin, max(end, 0)]
        missing.append(max(-end, 0))
    return cuts, missing

"""Images sampled at points that the network computes.

Sources: the ONNX operator reference (GridSample) and the MIL operator reference (resample).
"""

from __future__ import annotations

from edgerep.export.coreml.node import OnnxNode, Var
from edgerep.export.coreml.quiet_coremltools import mb, types

_MODES = {"linear": "bilinear", "bilinear": "bilinear"}  # opset 20 calls it by the other name
_PADDING = {"zeros": "constant", "border": "border"}


def grid_sample(node: OnnxNode) -> Var:
    """Emit `resample` of an image [N, C, H, W] at [N, H', W', 2], x before y, from -1 to 1."""
    x, grid = node.data(0), node.data(1)
    if x.rank != 4:
        node.refuse(f"its input has rank {x.rank}; resample takes images, [N, C, H, W]")
    mode, padding = node.get("mode", "linear"), node.get("padding_mode", "zeros")
    for what, value, known in (("mode", mode, _MODES), ("padding_mode", padding, _PADDING)):
        if value not in known:
            node.refuse(f"`{what}` is {value}; Core ML can only do {', '.join(known)}")
    return mb.resample(
        x=x,
        coordinates=grid,
        sampling_mode=_MODES[mode],
        padding_mode=_PADDING[padding],
        padding_value=types.nptype_from_builtin(x.dtype)(0),
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=bool(node.get("align_corners", 0)),
        name=node.result,
    )

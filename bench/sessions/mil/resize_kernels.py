"""What MIL's operations that make images larger or smaller, or regroup their pixels, compute.

Source: the documentation of each operation in coremltools (`iOS15/image_resizing.py`,
`iOS15/tensor_transformation.py`): grids of sampling points, given in formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from edgerep.bench.sessions.mil.values import Arguments, tensor
from edgerep.errors import CoremlError

# From the sizes before and after to the points of the grid, before they are clamped to the image.
Grid: TypeAlias = Callable[[int, int], Tensor]


def _steps(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64)


def _strict_align_corners(before: int, after: int) -> Tensor:
    return _steps(after) * ((before - 1) / (after - 1) if after > 1 else 0.0)


def _align_corners(before: int, after: int) -> Tensor:
    if after == 1:
        return torch.full((1,), (before - 1) / 2, dtype=torch.float64)
    return _strict_align_corners(before, after)


def _default(before: int, after: int) -> Tensor:
    spacing = (before - before / after) / (after - 1) if after > 1 else 0.0
    return _steps(after) * spacing


def _offset_corners(before: int, after: int) -> Tensor:
    delta = max(1, before - 1) / after
    return 0.5 * delta + _steps(after) * delta


def _unalign_corners(before: int, after: int) -> Tensor:
    spacing = before / after
    return _steps(after) * spacing + 0.5 * spacing - 0.5


_GRIDS: Mapping[str, Grid] = MappingProxyType(
    {
        "STRICT_ALIGN_CORNERS": _strict_align_corners,
        "ALIGN_CORNERS": _align_corners,
        "DEFAULT": _default,
        "OFFSET_CORNERS": _offset_corners,
        "UNALIGN_CORNERS": _unalign_corners,
    }
)


def resize_bilinear(a: Arguments) -> Tensor:
    sizes = int(a["target_size_height"]), int(a["target_size_width"])
    return _bilinear(a["x"], sizes, _GRIDS[str(a["sampling_mode"])])


def upsample_bilinear(a: Arguments) -> Tensor:
    x, corners = a["x"], bool(a["align_corners"])
    centred = a.get("half_pixel_centers")
    centred = not corners if centred is None else bool(centred)
    if centred == corners:
        raise CoremlError(
            "the reference interpreter does not know upsample_bilinear with align_corners equal to "
            "half_pixel_centers"
        )
    return _bilinear(x, _scaled(a), _strict_align_corners if corners else _unalign_corners)


def upsample_nearest_neighbor(a: Arguments) -> Tensor:
    """Each pixel as often as the scale says; for scales that are no whole numbers, see below."""
    x: Tensor = a["x"]
    for axis, after in zip((-2, -1), _scaled(a), strict=True):
        before = x.shape[axis]
        if after % before:
            raise CoremlError(
                "the reference interpreter does not know upsample_nearest_neighbor with a scale "
                "that is no whole number: its documentation does not say what is nearest"
            )
        x = x.repeat_interleave(after // before, axis)
    return x


def resample(a: Arguments) -> Tensor:
    """Pixels at the points of a grid [N, H', W', 2] from -1 to 1, x before y."""
    known = {"bilinear", "normalized_minus_one_to_one", "constant", "border"}
    asked = [str(a[key]) for key in ("sampling_mode", "coordinates_mode", "padding_mode")]
    if not known.issuperset(asked) or float(a["padding_value"]):
        raise CoremlError(
            f"the reference interpreter does not know resample by {', '.join(asked)} and padding "
            f"with {float(a['padding_value'])}"
        )
    return functional.grid_sample(
        a["x"],
        tensor(a["coordinates"]).to(a["x"].dtype),
        mode="bilinear",
        padding_mode="border" if asked[2] == "border" else "zeros",
        align_corners=bool(a["align_corners"]),
    )


def pixel_shuffle(a: Arguments) -> Tensor:
    return torch.pixel_shuffle(a["x"], int(a["upscale_factor"]))


def pixel_unshuffle(a: Arguments) -> Tensor:
    return torch.pixel_unshuffle(a["x"], int(a["downscale_factor"]))


def depth_to_space(a: Arguments) -> Tensor:
    """Channels [row in block, column in block, channel] to blocks, as TensorFlow's of this name."""
    x, block = a["x"], int(a["block_size"])
    count, channels, height, width = x.shape
    x = x.reshape(count, block, block, channels // block**2, height, width)
    x = x.permute(0, 3, 4, 1, 5, 2)
    return tensor(x.reshape(count, channels // block**2, height * block, width * block))


def space_to_depth(a: Arguments) -> Tensor:
    """Blocks to channels [row in block, column in block, channel], as TensorFlow's of this name."""
    x, block = a["x"], int(a["block_size"])
    count, channels, height, width = x.shape
    x = x.reshape(count, channels, height // block, block, width // block, block)
    x = x.permute(0, 3, 5, 1, 2, 4)
    return tensor(x.reshape(count, channels * block**2, height // block, width // block))


def _scaled(a: Arguments) -> tuple[int, int]:
    height, width = a["x"].shape[-2:]
    scales = float(a["scale_factor_height"]), float(a["scale_factor_width"])
    return int(height * scales[0]), int(width * scales[1])


def _bilinear(x: Tensor, sizes: tuple[int, int], grid: Grid) -> Tensor:
    for axis, after in zip((-2, -1), sizes, strict=True):
        before = x.shape[axis]
        points = grid(before, after).clamp(0, before - 1)
        low = points.floor().long().clamp(max=before - 1)
        high = (low + 1).clamp(max=before - 1)
        part = (points - low).to(x.dtype)
        part = part[:, None] if axis == -2 else part
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, high), part)
    return x

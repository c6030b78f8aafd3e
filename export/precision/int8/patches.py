"""What the rows of a layer's weights are multiplied by: positions of its input, drawn by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.export.graph.index import settings_of
from edgerep.export.precision.layers import Layer

_MOST_ROWS = 20_000  # that second moments are taken from
_ROWS_A_COLUMN = 2  # of wide layers, whose moments cost rows times columns squared
_WIDE = 2048


def second_moments(layer: Layer, blocks: Sequence[Array], kernel: Sequence[int], seed: int,
                   columns: slice = slice(None)) -> Array:  # fmt: skip
    """`E[x x^T]` of what each row is multiplied by, [groups, K, K]; of a `ConvTranspose` by tap.

    Args:
        layer: Of any kind.
        blocks: Its input in any unit, a batch at a time.
        kernel: The sides of its kernel; empty for a matrix.
        seed: Of the positions that are drawn.
        columns: Which input channels of a group take part.
    """
    rng = np.random.default_rng(seed)
    samples = sum(len(block) for block in blocks)
    total: Array | None = None
    count = 0
    for block in blocks:
        width = (block.shape[layer.source_axis] // layer.groups) * int(np.prod(kernel))
        each = -(-_most(width) // samples)
        found = drawn_rows(layer, block, kernel, each, rng, columns)
        groups, number, width = found.shape
        if total is None:
            total = np.zeros((groups, width, width), np.float32)
        for group in range(groups):
            total[group] += found[group].T @ found[group]
        count += number
    assert total is not None  # there is at least one image
    total /= max(1, count)
    return total.astype(np.float64) if total.shape[1] <= _WIDE else total


def drawn_rows(
    layer: Layer,
    block: Array,
    kernel: Sequence[int],
    each: int,
    rng: np.random.Generator,
    columns: slice = slice(None),
) -> Array:
    """Rows of a layer's input at drawn positions, [groups, rows, K], float32.

    Args:
        layer: Of any kind.
        block: Its input, a batch of it.
        kernel: The sides of its kernel; empty for a matrix, and for a `ConvTranspose`, whose rows
            are the channels of one position.
        each: How many positions of an image, at most; all of them are taken once where there are
            no more.
        rng: Draws the positions.
        columns: Which input channels of a group take part.
    """
    if layer.operator == "Conv":
        return _windows(layer, block, kernel, each, rng, columns)
    axis = layer.source_axis % block.ndim
    moved = np.moveaxis(block, axis, -1)  # [N, ..., C]
    flat = moved.reshape(len(block), -1, moved.shape[-1])
    drawn = _drawn(flat.shape[1], each, len(block), rng)
    picked = np.take_along_axis(flat, drawn.reshape(len(block), -1, 1), 1)
    grouped = picked.reshape(-1, layer.groups, flat.shape[2] // layer.groups)[:, :, columns]
    return np.ascontiguousarray(grouped.transpose(1, 0, 2)).astype(np.float32)


def _drawn(every: int, each: int, images: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places out of `every`, for each image in turn, [images * min(every, each)]."""
    if every <= each:
        return np.tile(np.arange(every), images)
    return rng.integers(0, every, images * each)


def _windows(
    layer: Layer,
    block: Array,
    kernel: Sequence[int],
    each: int,
    rng: np.random.Generator,
    columns: slice,
) -> Array:
    settings = settings_of(layer.node)
    rank = len(kernel)
    strides = settings.get("strides", [1] * rank)
    dilations = settings.get("dilations", [1] * rank)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(settings, block.shape[2:], spans, strides)
    padded = np.pad(block, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    grouped = padded.reshape(len(block), layer.groups, -1, *padded.shape[2:])[:, :, columns]
    view = sliding_window_view(grouped, spans, axis=tuple(range(3, 3 + rank)))
    for axis, dilation in enumerate(dilations, start=view.ndim - rank):
        view = view[(slice(None),) * axis + (slice(None, None, dilation),)]
    sizes = [
        (size - span) // stride + 1
        for size, span, stride in zip(padded.shape[2:], spans, strides, strict=True)
    ]
    width = grouped.shape[2] * int(np.prod(kernel))
    every = int(np.prod(sizes))
    drawn = _drawn(every, each, len(block), rng)
    images = np.repeat(np.arange(len(block)), len(drawn) // len(block))
    places = [
        at * stride for at, stride in zip(np.unravel_index(drawn, sizes), strides, strict=True)
    ]
    picked = view[(images, slice(None), slice(None), *places)]
    return picked.transpose(1, 0, *range(2, picked.ndim)).reshape(
        layer.groups, len(images), width
    ).astype(np.float32)  # fmt: skip


def _most(width: int) -> int:
    return _MOST_ROWS if width <= _WIDE else max(8192, _ROWS_A_COLUMN * width)


def _pads(
    settings: dict[str, object], sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]
) -> list[int]:
    automatic = settings.get("auto_pad", b"NOTSET")
    if automatic in (b"NOTSET", b"VALID"):
        pads = settings.get("pads") if automatic == b"NOTSET" else None
        return list(pads) if isinstance(pads, list) else [0] * (2 * len(sizes))
    begin, end = [], []
    for size, span, stride in zip(sizes, spans, strides, strict=True):
        needed = max(0, (-(-size // stride) - 1) * stride + span - size)
        less, more = needed // 2, needed - needed // 2
        begin.append(less if automatic == b"SAME_UPPER" else more)
        end.append(more if automatic == b"SAME_UPPER" else less)
    return begin + end

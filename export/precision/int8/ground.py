"""What every candidate starts from: images in two parts, and what the float graph makes of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.errors import DataError, OnnxError
from edgerep.export.precision.activations import Activations, observe
from edgerep.export.precision.int8.placement import Placement
from edgerep.export.precision.settings import require_enough

Doubles = NDArray[np.float64]
Blocks = Callable[[], Iterator[Array]]
Watch = Callable[[str, int, int], None]

_MOST_HELD_OUT = 64
_PIXELS = 5_000_000  # bytes of images in float32 that are run at a time
_LARGEST_BATCH = 32


@dataclass(frozen=True, eq=False)
class Ground:
    """What every candidate starts from.

    Attributes:
        model: The graph in float32.
        placement: What of it is quantised.
        seen: What the tensors that are quantised held, by name.
        means: The mean of each channel of each layer's output, by the name of the tensor.
        calibration: Gives the images from which all is made, a batch at a time.
        held_out: Gives those on which candidates are compared.
        images: How many of the first.
        others: How many of the second.
    """

    model: onnx.ModelProto
    placement: Placement
    seen: Mapping[str, Activations]
    means: Mapping[str, Doubles]
    calibration: Blocks
    held_out: Blocks
    images: int
    others: int


def prepare(
    model: onnx.ModelProto,
    placement: Placement,
    images: Any,
    *,
    batch: int | None,
    threads: int,
    watch: Watch,
) -> Ground:
    """Hold every fourth image out, 64 at most, and run the float graph on the others.

    Args:
        model: A graph with one input.
        placement: What of it is quantised.
        images: [N, C, H, W]; sliced, never taken as a whole.
        batch: The only size of a batch that the graph takes; None where it is open.
        threads: Cores that ONNX Runtime may use; 0 leaves its own choice.
        watch: Told how far it is.

    Raises:
        DataError: There are fewer than two images, or they are all the same.
        OnnxError: ONNX Runtime cannot run the graph, or a layer takes or gives NaN or infinity.
    """
    count = len(images)
    require_enough(count, "int8")
    every = max(2, count // int(np.clip(count // 4, 1, _MOST_HELD_OUT)))
    held = np.arange(every // 2, count, every)
    taken = np.setdiff1d(np.arange(count), held)
    size = batch or int(np.clip(_PIXELS // (4 * int(np.prod(images.shape[1:]))), 1, _LARGEST_BATCH))
    calibration = _blocks(images, taken, size, fixed=batch is not None)
    sums: dict[str, Doubles] = {}
    totals: dict[str, int] = {}

    first = np.asarray(images[:1])
    tells = False

    def shown() -> Iterator[list[Array]]:
        nonlocal tells
        for block in calibration():
            tells = tells or bool((block != first).any())
            yield [block]

    def add(found: Mapping[str, Array]) -> None:
        for layer in placement.layers:
            rows = np.moveaxis(found[layer.output], layer.source_axis, 0)
            rows = rows.reshape(len(rows), -1)
            sums[layer.output] = sums.get(layer.output, 0.0) + rows.sum(1, dtype=np.float64)
            totals[layer.output] = totals.get(layer.output, 0) + rows.shape[1]

    seen = observe(
        model,
        shown(),
        axes_of(placement),
        threads=threads,
        watch=lambda done: watch("ranges of activations", min(done, len(taken)), len(taken)),
        also=add,
        outputs=[layer.output for layer in placement.layers],
    )
    if not tells:
        raise DataError(
            f"the {count} calibration images are one and the same, from which no range can be "
            f"learned: give 256 different ones or more, such as the network will see"
        )
    _require_numbers(placement, seen, sums)
    return Ground(
        model,
        placement,
        seen,
        {name: sums[name] / totals[name] for name in sums},
        calibration,
        _blocks(images, held, size, fixed=batch is not None),
        len(taken),
        len(held),
    )


def _require_numbers(
    placement: Placement, seen: Mapping[str, Activations], sums: Mapping[str, Doubles]
) -> None:
    for layer in placement.layers:
        takes = seen[layer.source].finite
        if not takes or not np.isfinite(sums[layer.output]).all():
            raise OnnxError(
                f"layer {layer.name} {'gives' if takes else 'is given'} NaN or infinity in float32 "
                f"on the calibration images: no eight bits stand for that. Check the checkpoint's "
                f"weights and BatchNorm statistics, and what is done to the images"
            )


def axes_of(placement: Placement) -> dict[str, int]:
    """The axis of the channels of each tensor that is quantised."""
    axes = {pair.tensor: 1 for pair in placement.pairs}
    axes.update({layer.source: layer.source_axis for layer in placement.layers})
    return axes


def _blocks(images: Any, chosen: NDArray[np.int64], size: int, *, fixed: bool) -> Blocks:
    """Batches of the chosen images; where only one size can be run, the last is filled up."""

    def blocks() -> Iterator[Array]:
        for start in range(0, len(chosen), size):
            at = chosen[start : start + size]
            if fixed and len(at) < size:
                at = np.resize(np.concatenate([at, chosen]), size)
            yield np.asarray(images[at])

    return blocks


def along(values: Doubles, rank: int, axis: int) -> Doubles:
    """One number for each channel, in the shape in which it stands beside a tensor."""
    shape = [-1 if at == axis % rank else 1 for at in range(rank)]
    return values.reshape(shape)

"""The step of each tensor that is quantised: as wide as its values need, as narrow as they bear.

A wider step rounds everything more coarsely, a narrower one cuts the largest values off. Which of
the two matters more is asked of those that read the tensor: the step is taken with which the
layers behind it answer most like before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.export.precision.int8.base import Base, LayerWeights
from edgerep.export.precision.int8.ground import Ground, axes_of
from edgerep.export.precision.int8.patches import drawn_rows
from edgerep.export.precision.layers import Layer
from edgerep.export.precision.running import ModelRun

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the largest value that was seen
_IMAGES = 32  # on which they are tried
_ROWS = 2048  # of what a layer reads
# The largest of many numbers of a channel is as large as the next image's will be; that of few
# (behind a mean over all positions) is not.
_MANY, _FEW = 100_000, 256
_ROOM_OF_FEW = 0.3


def largest_steps(ground: Ground, base: Base, levels: int) -> dict[int, float]:
    """The step of each group of pairs with which the largest value seen has the largest code."""
    largest: dict[int, float] = {}
    axes = axes_of(ground.placement)
    for pair in ground.placement.pairs:
        name = pair.tensor
        seen = ground.seen[name].largest / base.divided(name, axes[name])
        largest[pair.group] = max(largest.get(pair.group, 0.0), float(seen.max(initial=0.0)))
    return {group: float(np.float32(room_for(value) / levels)) for group, value in largest.items()}


def room_for(largest: float) -> float:
    """The largest number that codes are to reach, where `largest` is what was seen.

    What was zero throughout gets the room of ordinary numbers: with a tiny step ONNX Runtime, which
    rounds a bias to multiples of the steps of inputs and weights, would lose the bias.
    """
    return max(largest, 1e-30) if largest > 0 else 1.0


def searched_steps(
    ground: Ground, base: Base, *, levels: int, seed: int, threads: int
) -> dict[int, float]:
    """The step of each group of pairs with which the layers behind it answer most like before.

    Args:
        ground: What was seen, and the images.
        base: The float graph.
        levels: The largest code.
        seed: Of the positions at which layers are asked.
        threads: Cores that ONNX Runtime may use; 0 leaves its own choice.
    """
    start = largest_steps(ground, base, levels)
    layers = {layer.node.output[0]: layer for layer in ground.placement.layers}
    weights = LayerWeights(base.model)
    asked = [
        (pair, layers[reader])
        for pair in ground.placement.pairs
        for reader, _ in pair.readers
        if reader in layers
    ]
    run = ModelRun(base.model, list(dict.fromkeys(p.tensor for p, _ in asked)), threads=threads,
                   optimised=True)  # fmt: skip
    errors = {group: np.zeros(len(SHARES)) for group in start}
    rng = np.random.default_rng(seed)
    done = 0
    for block in ground.calibration():
        found = run.run({run.inputs[0]: block})
        each = max(1, _ROWS // _IMAGES)
        for pair, layer in asked:
            weight = weights.weight(layer)
            kernel = weight.shape[2:] if layer.operator == "Conv" else ()
            rows = drawn_rows(layer, found[pair.tensor], kernel, each, rng)
            errors[pair.group] += _errors(rows, _matrix(layer, weight), start[pair.group], levels)
        done += len(block)
        if done >= _IMAGES:
            break
    rooms = _rooms(ground)
    return {
        group: float(np.float32(step * SHARES[int(np.argmin(errors[group]))] * rooms[group]))
        for group, step in start.items()
    }


def _errors(rows: Array, matrix: Array, step: float, levels: int) -> NDArray[np.float64]:
    """For each share of a step, how far a layer's answers are off, over what they are, squared."""
    signal = float(((rows @ matrix) ** 2).sum())
    found = []
    for share in SHARES:
        narrow = step * share
        codes = np.clip(np.rint(rows / narrow), -levels, levels)
        off = (codes * narrow - rows).astype(np.float32) @ matrix
        found.append(float((off**2).sum()) / max(signal, 1e-30))
    return np.array(found)


def _matrix(layer: Layer, weight: Array) -> Array:
    """The weights of a layer as what rows are multiplied by, [groups, K, outputs]."""
    rows = layer.rows(weight)
    groups, outputs, inputs, taps = rows.shape
    if layer.operator == "ConvTranspose":
        return rows.transpose(0, 2, 1, 3).reshape(groups, inputs, outputs * taps)
    return rows.reshape(groups, outputs, -1).transpose(0, 2, 1)


def _rooms(ground: Ground) -> dict[int, float]:
    """How far beyond the largest value that was seen a group's values may go, 1 or more."""
    fewest: dict[int, int] = {}
    for pair in ground.placement.pairs:
        count = ground.seen[pair.tensor].count
        fewest[pair.group] = min(fewest.get(pair.group, count), count)
    scale = np.log(_MANY / _FEW)
    return {
        group: 1 + _ROOM_OF_FEW * float(np.clip(np.log(_MANY / count) / scale, 0, 1.5))
        for group, count in fewest.items()
    }

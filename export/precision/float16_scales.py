"""Powers of two that bring what a graph gives into the range of float16.

Divided where it is made and multiplied where it is read, a channel's numbers change and the graph's
answers do not; a power of two changes no digit of float32 either. Only channels that float16 holds
badly are rescaled.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgerep.export.precision.free_scales import FreeScales
from edgerep.export.precision.ranges import LARGEST, NORMAL_FROM, LayerRange, Ranges

# Rescaling is exact and costs nothing, so it begins early: other images may give several times what
# was seen. It ends where there is as much room above as float16 has digits to spare below.
_LARGE_FROM = LARGEST / 16
_HIGHEST = 1024.0
_BESIDE = 4  # how many times more than was seen of it a channel may give, beside its neighbours
_LOWEST = 4 * NORMAL_FROM  # a tensor that nowhere exceeds it is rescaled to about 1


def float16_scales(free: FreeScales, ranges: Ranges) -> NDArray[np.float64]:
    """What each channel is to be divided by, [count] as `rescaled` takes it; 1 for most.

    Args:
        free: What may be rescaled.
        ranges: What the graph gives, of each tensor by channel.
    """
    by_channel, by_tensor = np.zeros(free.count), np.zeros(free.count)
    for name, held in ranges.activations.items():
        variables = free.variables.get(name)
        if variables is None or not held.count:
            continue
        axis = ranges.axes[name]
        largest, flat = held.largest, variables.reshape(-1)
        channels = flat if variables.shape[axis] == len(flat) == len(largest) else None
        of = largest if channels is not None else np.full(len(flat), largest.max())
        np.maximum.at(by_channel, flat, of)
        np.maximum.at(by_tensor, flat, largest.max())
    scales = np.ones(free.count)
    large = by_tensor > _LARGE_FROM
    seen = np.maximum(by_channel, by_tensor / _BESIDE)
    scales[large] = 2.0 ** np.ceil(np.log2(seen[large] / _HIGHEST))
    small = (by_tensor > 0) & (by_tensor < _LOWEST)
    scales[small] = 2.0 ** np.ceil(np.log2(by_tensor[small]))
    scales[0] = 1.0
    return scales


def after_rescaling(
    free: FreeScales, ranges: Ranges, scales: NDArray[np.float64]
) -> tuple[LayerRange, ...]:
    """What the graph gives after it was rescaled: `ranges.nodes`, divided channel by channel."""
    result = []
    for node in ranges.nodes:
        held = ranges.activations[node.tensor]
        by = _divisors(free, node.tensor, len(held.largest), scales)
        typical = float(np.median(held.quantile(0.5) / by))
        low, high = float((held.low / by).min()), float((held.high / by).max())
        result.append(replace(node, low=low, high=high, typical=typical))
    return tuple(result)


def _divisors(
    free: FreeScales, name: str, channels: int, scales: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each channel of a tensor was divided by, [C]; where that is not known, the least."""
    variables = free.variables.get(name)
    if variables is None:
        return np.ones(channels)
    own = scales[variables.reshape(-1)]
    result: NDArray[np.float64] = own if len(own) == channels else np.full(channels, own.min())
    return result

"""Activation ranges evened out: by how much each channel is rescaled before it is quantised.

A tensor has one scale for all of its channels, so a channel of a tenth of the range has a tenth of
the codes. SmoothQuant (Xiao et al., arXiv 2211.10438) divides a channel by `range^alpha /
weights^(1 - alpha)`. Here both are measured in a gauge of their own: the channel in units of its
range, and its weights beside the others of their row when every channel is in those units. So the
result does not depend on the scales that a network arrives with.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.export.graph.index import GraphIndex
from edgerep.export.precision.free_scales import FreeScales
from edgerep.export.precision.scale_variables import Variables

Doubles = NDArray[np.float64]

_LEAST_SHARE = 1e-4  # of a row: below it a channel is as good as not read
_DEAD = 2.0**-6  # a channel that never fired is given this share of what it could be


def equalising_scales(
    model: onnx.ModelProto,
    free: FreeScales,
    ranges: Mapping[str, Doubles],
    alpha: float,
) -> Doubles:
    """A scale for each variable of `free`, by which its channels are divided, [count].

    Args:
        model: A graph of float32.
        free: What may be rescaled in it.
        ranges: By the name of each tensor that will be quantised, the range of its channels, [C].
        alpha: 1 gives all channels the same range; 0 all input channels of a layer the same
            weights; 0.5 the mean of both.
    """
    axes = {layer.source: layer.source_axis for layer in free.layers}
    variables = {
        name: _per_channel(free, name, axes.get(name, 1), len(values))
        for name, values in ranges.items()
        if name in free.variables
    }
    size = np.zeros(free.count)
    for name, which in variables.items():
        np.maximum.at(size, which, ranges[name])
    size = _with_the_dead(model, free, size)
    size[0] = 1
    share = _shares(model, free, size)
    level = _levels(free, variables, ranges)
    scales: Doubles = size / (level * share ** (1 - alpha))
    scales[0] = 1
    return scales


def _per_channel(free: FreeScales, name: str, axis: int, count: int) -> Variables:
    return np.broadcast_to(free.of(name, axis), (count,))


def _with_the_dead(model: onnx.ModelProto, free: FreeScales, size: Doubles) -> Doubles:
    """Ranges with an estimate, from its weights, for each channel that never fired."""
    index = GraphIndex(model.graph)
    size = size.copy()
    size[0] = 0
    for layer in free.layers:
        weight = index.constant(layer.weight)
        assert weight is not None
        rows = np.abs(layer.rows(weight)).sum(3)
        groups, outputs, inputs = rows.shape
        read = _per_channel(free, layer.source, layer.source_axis, groups * inputs)
        reach = (rows * size[read].reshape(groups, 1, inputs)).sum(2).reshape(-1)
        if layer.bias and (bias := index.constant(layer.bias)) is not None:
            reach = reach + np.abs(bias)
        made = _per_channel(free, layer.output, layer.source_axis, groups * outputs)
        guess = np.zeros(free.count)
        np.maximum.at(guess, made, _DEAD * reach)
        size = np.where(size > 0, size, guess)
    return np.where(size > 0, size, 1.0)


def _shares(model: onnx.ModelProto, free: FreeScales, size: Doubles) -> Doubles:
    """The largest part that a channel's weights have in a row, in units of its range, 0 to 1."""
    index = GraphIndex(model.graph)
    share = np.zeros(free.count)
    for layer in free.layers:
        weight = index.constant(layer.weight)
        assert weight is not None
        rows = np.abs(layer.rows(weight)).max(3).astype(np.float64)
        groups, _, inputs = rows.shape
        read = _per_channel(free, layer.source, layer.source_axis, groups * inputs)
        rows *= size[read].reshape(groups, 1, inputs)
        largest = rows.max(2, keepdims=True)
        part = rows / np.where(largest > 0, largest, 1)
        np.maximum.at(share, read, part.max(1).reshape(-1))
    return np.maximum(np.where(share > 0, share, 1.0), _LEAST_SHARE)


def _levels(
    free: FreeScales, variables: Mapping[str, Variables], ranges: Mapping[str, Doubles]
) -> Doubles:
    """What range 1 is to mean: beside channels that stay as they are, one over theirs."""
    group = np.arange(free.count)
    for _ in range(len(variables)):
        before = group.copy()
        for which in variables.values():
            of = which[which > 0]
            if len(of):
                group[of] = group[of].min()
        group = group[group]
        if np.array_equal(group, before):
            break
    found = np.zeros(free.count)
    for name, which in variables.items():
        if (which == 0).any() and (which > 0).any():
            fixed = float(ranges[name][which == 0].max())
            of = group[which[which > 0]]
            found[of] = np.maximum(found[of], fixed)
    found = found[group]
    return np.where(found > 0, 1 / np.where(found > 0, found, 1), 1.0)

"""What the tensors of a graph hold when it is run on images: statistics per channel, streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.export.precision.running import ModelRun

_BINS = 512  # of each channel's histogram; a quantile is right to 1/256 of the largest value
_POSITIONS = 2048  # of a channel and a sample that go into the histogram; more add nothing

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Activations:
    """What one tensor held, per channel, over all that the graph was run on.

    Attributes:
        count: How many numbers of each channel were seen.
        low: The smallest of each channel, [C].
        high: The largest of each channel, [C].
        mean: [C].
        histogram: How many absolute values fell into each of equal bins from 0 on, [C, bins]; of
            large tensors a part of the positions is counted.
        width: Of a bin of each channel, [C].
        tiniest: The smallest absolute value of each channel that is not zero, [C]; infinite where
            there is none.
        finite: Whether every number was.
    """

    count: int
    low: Doubles
    high: Doubles
    mean: Doubles
    histogram: NDArray[np.int64]
    width: Doubles
    tiniest: Doubles
    finite: bool

    @property
    def largest(self) -> Doubles:
        """The largest absolute value of each channel, [C]."""
        result: Doubles = np.maximum(np.abs(self.low), np.abs(self.high))
        return result

    def quantile(self, share: float) -> Doubles:
        """The absolute value that `share` of each channel's values do not exceed, [C]."""
        counted = np.cumsum(self.histogram, axis=1)
        wanted = share * counted[:, -1:]
        at = (counted < wanted).sum(axis=1)
        before = np.where(
            at > 0, np.take_along_axis(counted, np.maximum(at - 1, 0)[:, None], 1)[:, 0], 0
        )
        inside = np.take_along_axis(self.histogram, np.minimum(at, _BINS - 1)[:, None], 1)[:, 0]
        part = (wanted[:, 0] - before) / np.maximum(inside, 1)
        result: Doubles = np.minimum((at + np.clip(part, 0, 1)) * self.width, self.largest)
        return result


class _Tally:
    def __init__(self) -> None:
        self.count = 0
        self.finite = True
        self.low = self.high = self.total = self.width = self.tiniest = np.zeros(0)
        self.histogram = np.zeros((0, _BINS), np.int64)

    def add(self, values: Array, axis: int) -> None:
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        if not np.isfinite(rows).all():
            self.finite = False
            rows = np.nan_to_num(rows, nan=0.0, posinf=3.4e38, neginf=-3.4e38)
        low, high = rows.min(1).astype(np.float64), rows.max(1).astype(np.float64)
        first = not self.count
        self.low = low if first else np.minimum(self.low, low)
        self.high = high if first else np.maximum(self.high, high)
        total = rows.sum(1, dtype=np.float64)
        self.total = total if first else self.total + total
        step = max(1, rows.shape[1] // (_POSITIONS * max(1, len(values) if axis else 1)))
        some = np.abs(rows[:, ::step])
        nonzero = np.where(some > 0, some, np.inf).min(1).astype(np.float64)
        self.tiniest = nonzero if first else np.minimum(self.tiniest, nonzero)
        if first:
            # In units of what the channel itself holds: the statistics of a channel that arrives
            # larger are those of this one, larger.
            self.width = np.maximum(np.abs(low), np.abs(high)) / _BINS
            self.histogram = np.zeros((len(rows), _BINS), np.int64)
        self.count += rows.shape[1]
        self._widen(some.max(1, initial=0).astype(np.float64))
        self._fill(some)

    def _widen(self, largest: Doubles) -> None:
        """Double the bins of channels until they hold the largest value."""
        self.width = np.where(self.width > 0, self.width, largest / _BINS)
        while (small := largest > self.width * _BINS).any():
            merged = self.histogram[small].reshape(-1, _BINS // 2, 2).sum(2)
            self.histogram[small] = np.concatenate([merged, np.zeros_like(merged)], axis=1)
            self.width = np.where(small, 2 * self.width, self.width)

    def _fill(self, some: Array) -> None:
        scale = np.where(self.width > 0, 1 / np.where(self.width > 0, self.width, 1), 0)
        places = np.minimum((some * scale[:, None]).astype(np.int64), _BINS - 1)
        places += _BINS * np.arange(len(some))[:, None]
        flat = np.bincount(places.reshape(-1), minlength=self.histogram.size)
        self.histogram += flat.reshape(self.histogram.shape)

    def result(self) -> Activations:
        return Activations(
            self.count, self.low, self.high, self.total / max(1, self.count), self.histogram,
            self.width, self.tiniest, self.finite,
        )  # fmt: skip


def observe(
    model: onnx.ModelProto,
    blocks: Iterable[Sequence[Array]],
    axes: Mapping[str, int],
    *,
    threads: int = 0,
    watch: Callable[[int], None] = lambda done: None,
    also: Callable[[Mapping[str, Array]], None] = lambda found: None,
    outputs: Sequence[str] = (),
) -> dict[str, Activations]:
    """Run a graph on blocks of inputs, and count what its tensors hold.

    What is kept does not grow with the number of blocks: a histogram of 512 bins for each channel.

    Args:
        model: The graph.
        blocks: Inputs of the graph, in its order, for one batch each. A size that the graph takes.
        axes: By the name of a tensor, the axis of its channels; a tensor of no axis is one channel.
        threads: Cores that one operator may use; 0 leaves ONNX Runtime's own choice.
        watch: Told after each block how many samples were run.
        also: Called for each block with all tensors that were asked for.
        outputs: Tensors that only `also` sees.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        OnnxError: It refuses the model.
    """
    session = ModelRun(model, list(dict.fromkeys((*axes, *outputs))), threads=threads,
                       optimised=True)  # fmt: skip
    tallies = {name: _Tally() for name in axes}
    done = 0
    for block in blocks:
        found = session.run(dict(zip(session.inputs, block, strict=True)))
        for name, axis in axes.items():
            values = found[name]
            if values.size:
                tallies[name].add(values.reshape(1, -1) if not values.ndim else values, axis)
        also(found)
        done += len(block[0])
        watch(done)
    return {name: tally.result() for name, tally in tallies.items()}

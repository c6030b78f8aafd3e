"""What the layers of a float32 graph give, held against what float16 holds.

float16 ends at 65504, and below 6.1e-5 it has fewer digits the smaller a number is. On a CPU none
of this shows; on a device the one gives infinity and then NaN, the other noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.data.probes import make_probes
from edgerep.export.graph.element_types import element_types
from edgerep.export.precision.activations import Activations, observe
from edgerep.export.precision.emulation import MOVING
from edgerep.export.precision.free_scales import FreeScales
from edgerep.export.precision.narrow_types import FLOAT16

LARGEST = FLOAT16.largest
WARNED_FROM = LARGEST / 4  # another image than those that were seen may give more
NORMAL_FROM = 2.0**-14  # the smallest number with all of float16's digits
_MOST_IMAGES = 256  # of calibration that are run, spread over all
_MOST_PROBES = 24  # of those that parity makes: random ones, edge cases, the first pictures
_MOST_CHANNELS = 8192  # of a tensor that is followed channel by channel
# What gives no more than it is given, or than 1: it is not measured.
PASSING = (MOVING - {"Clip"}) | {"AveragePool", "GlobalAveragePool", "ReduceMean", "Cast"}
_BOUNDED = frozenset({"Softmax", "Sigmoid", "HardSigmoid", "Tanh"})


@dataclass(frozen=True, slots=True)
class LayerRange:
    """What one node gives.

    Attributes:
        name: Of the node, or of its tensor.
        operator: Of the node.
        tensor: The name of what it gives.
        low: The smallest number.
        high: The largest.
        typical: The median of the magnitudes, of the median channel; zeros count.
        finite: Whether every number was; masks may hold infinity on purpose.
    """

    name: str
    operator: str
    tensor: str
    low: float
    high: float
    typical: float
    finite: bool = True

    @property
    def largest(self) -> float:
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, eq=False)
class Ranges:
    """What the nodes of a graph that compute give.

    Attributes:
        measured_on: "calibration images", or "generated probes".
        count: How many.
        activations: By tensor.
        axes: By tensor, the axis of `activations`' channels.
        nodes: The range of each tensor, in the order of the graph.
    """

    measured_on: str
    count: int
    activations: Mapping[str, Activations]
    axes: Mapping[str, int]
    nodes: tuple[LayerRange, ...]


def measure_ranges(
    model: onnx.ModelProto,
    specs: Sequence[TensorSpec],
    images: Any,
    *,
    free: FreeScales,
    threads: int = 0,
) -> Ranges:
    """Run a float32 graph on images, or without any on generated ones, and note what it gives.

    Args:
        model: With its preprocessing inside.
        specs: Its inputs.
        images: [N, C, H, W] as it takes them; at most 256 of them are run. None for probes as
            parity makes them: random numbers, edge cases and generated pictures.
        free: What may be rescaled in it: says which axis of a tensor has channels.
        threads: Cores that one operator may use; 0 leaves ONNX Runtime's own choice.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        OnnxError: It refuses the graph, or the types of its tensors cannot be worked out.
    """
    types = element_types(model)
    nodes = [
        (node, name)
        for node in model.graph.node
        if node.op_type not in PASSING | _BOUNDED
        for name in node.output[:1]
        if types.get(name) == TensorProto.FLOAT
    ]
    axes = {name: _axis(name, free) for _, name in nodes}
    blocks, count, what = _inputs(specs, images)
    found = observe(model, blocks, axes, threads=threads)
    ranges = []
    for node, name in nodes:
        held = found[name]
        if not held.count:
            continue
        middle = held.quantile(0.5)
        ranges.append(
            LayerRange(
                node.name or name, node.op_type, name, float(held.low.min()),
                float(held.high.max()), float(np.median(middle)),
                held.finite,
            )
        )  # fmt: skip
    return Ranges(what, count, found, axes, tuple(ranges))


def _axis(name: str, free: FreeScales) -> int:
    """The axis along which a tensor has channels; that of the batch if none is known."""
    variables = free.variables.get(name)
    if variables is None:
        return 0
    channels = [at for at, size in enumerate(variables.shape) if size > 1]
    if len(channels) == 1 and variables.shape[channels[0]] <= _MOST_CHANNELS:
        return channels[0]
    return 1 if not channels and variables.ndim > 2 else 0


def _inputs(specs: Sequence[TensorSpec], images: Any) -> tuple[list[tuple[Array, ...]], int, str]:
    """Batches of the size that the graph takes, how many samples they are, and what they are."""
    if images is not None and len(specs) == 1:
        places = np.unique(np.linspace(0, len(images) - 1, _MOST_IMAGES).astype(int))
        arrays: tuple[Array, ...] = (np.asarray(images[places]),)
        what = "calibration images"
    else:
        arrays = tuple(array[:_MOST_PROBES] for array in make_probes(specs).inputs)
        what = "generated probes"
    count = len(arrays[0])
    size = next((spec.shape[0] for spec in specs if spec.shape), None) or 1
    orders = [(start + np.arange(size)) % count for start in range(0, count, size)]
    return [tuple(array[order] for array in arrays) for order in orders], count, what

"""The int8 weights of each layer beside the float network's, where nothing drowns in the rest.

Each output channel's weights must be those of the float layer, rounded, up to the factors that
rescaling between layers leaves open; and these must cancel from layer to layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.bench.parity.int8_findings import LayerParity
from edgerep.bench.parity.quantised.float_graph import float_graph
from edgerep.bench.parity.quantised.gauges import Gauge, Numbers, gauge_of
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.data.preprocessing import Preprocessing, preprocessing_from
from edgerep.export.graph.index import GraphIndex
from edgerep.export.graph.onnx_file import describe_model, read_model
from edgerep.export.graph.quantisers import Quantiser, quantisers_in
from edgerep.export.graph.unquantised import unquantised
from edgerep.export.precision.free_scales import FreeScales, free_scales
from edgerep.export.precision.layers import Layer, layers_in

# Rounding to nearest leaves 0.29 steps; rounding that makes up for the errors before it, measured
# on the trained networks of the bench, up to 1.1, and on the nine weights of a depthwise channel
# whose images are four pixels wide, 2.7.
_MOST_STEPS = 4.0
_LEAST_GAIN = 0.02  # what error-compensating rounding moves a channel's factor by itself
_ERRORS = 6.0  # standard errors of the fit that a factor may be off
_OPEN = 2.0  # times more exact that a row must be by what is known of its columns than by itself


@dataclass(frozen=True, eq=False)
class _Pair:
    """A float layer, and the int8 layer that stands in its place."""

    layer: Layer
    gauge: Gauge
    made: NDArray[np.int64]
    read: NDArray[np.int64]


def layers_beside(reference: Reference | OnnxReference, origin: Path) -> tuple[LayerParity, ...]:
    """The layers of an int8 graph beside those of the float network; none where they differ.

    Args:
        reference: The float network: an ONNX file, or a module, which is fused and exported.
        origin: The Q/DQ graph.

    Raises:
        OnnxError: A file cannot be read.
    """
    with float_graph(reference, origin) as path:
        return () if path is None else _beside(path, origin)


def _beside(path: Path, origin: Path) -> tuple[LayerParity, ...]:
    floats, rounded = read_model(path), read_model(origin)
    plain = unquantised(rounded)
    halves = _widen_in_place(plain)
    layers, found = layers_in(floats.graph), layers_in(plain.graph)
    if not _are_alike(floats, layers, plain, found):
        return ()
    free = free_scales(floats)
    steps = _steps(rounded)
    inputs = {value.name for value in GraphIndex(floats.graph).inputs}
    is_anchored = _preprocessing(floats, path) == _preprocessing(rounded, origin)
    pairs = []
    for layer, other in zip(layers, found, strict=True):
        if layer.output not in free.variables or layer.source not in free.variables:
            continue
        gauge = _gauge(floats, plain, layer, other, steps, halves)
        made, read = _variables(free, layer, gauge)
        if layer.source in inputs and not is_anchored:  # it may stand in the layer's weights
            read = np.full_like(read, -1)
        pairs.append(_Pair(layer, gauge, made, read))
    return _judged(pairs, free.count, is_anchored=is_anchored)


def _widen_in_place(model: onnx.ModelProto) -> set[str]:
    """Make float32 of float16 weights, which a graph with float16 between its pairs has.

    Returns:
        The names of those that were float16.
    """
    found = set()
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
            found.add(tensor.name)
    return found


def _preprocessing(model: onnx.ModelProto, path: Path) -> Preprocessing:
    return preprocessing_from(describe_model(model, path).options)


def _are_alike(
    floats: onnx.ModelProto,
    layers: Sequence[Layer],
    plain: onnx.ModelProto,
    found: Sequence[Layer],
) -> bool:
    if len(layers) != len(found) or not layers:
        return False
    one, other = GraphIndex(floats.graph), GraphIndex(plain.graph)
    return all(
        a.operator == b.operator and _shape(one, a) == _shape(other, b) and a.groups == b.groups
        for a, b in zip(layers, found, strict=True)
    )


def _shape(index: GraphIndex, layer: Layer) -> tuple[int, ...]:
    weight = index.constant(layer.weight)
    return () if weight is None else weight.shape


def _steps(model: onnx.ModelProto) -> dict[str, Quantiser]:
    """What dequantises each weight, by the name of what it makes."""
    found = quantisers_in(GraphIndex(model.graph))
    return {one.node.output[0]: one for one in found if not one.is_quantize and one.of_weight}


def _gauge(
    floats: onnx.ModelProto,
    plain: onnx.ModelProto,
    layer: Layer,
    other: Layer,
    steps: dict[str, Quantiser],
    halves: set[str],
) -> Gauge:
    weight = GraphIndex(floats.graph).constant(layer.weight)
    values = GraphIndex(plain.graph).constant(other.weight)
    assert weight is not None  # both are layers
    assert values is not None
    rows, rounded = layer.rows(weight.astype(np.float64)), other.rows(values.astype(np.float64))
    groups, outputs = rows.shape[:2]
    one = steps.get(other.weight)
    if one is None or one.scale is None:  # left in float: the distance of its largest numbers
        half = other.weight in halves
        step = np.abs(rounded).max((2, 3)) * (2.0**-11 if half else 2.0**-20)
    else:
        step = one.scale.astype(np.float64).reshape(-1)
        if step.size == groups * outputs:
            step = step.reshape(groups, outputs)
        step = np.broadcast_to(step, (groups, outputs))  # groups of a ConvTranspose share theirs
    return gauge_of(rows, rounded, np.where(step > 0, step, 1.0))


def _variables(
    free: FreeScales, layer: Layer, gauge: Gauge
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    made, read = free.of(layer.output, layer.source_axis), free.of(layer.source, layer.source_axis)
    return (
        np.broadcast_to(made, (gauge.rows.size,)).reshape(gauge.rows.shape),
        np.broadcast_to(read, (gauge.columns.size,)).reshape(gauge.columns.shape),
    )


def _judged(pairs: Sequence[_Pair], count: int, *, is_anchored: bool) -> tuple[LayerParity, ...]:
    """Hold every layer's factors against those of the layers before it, front to back."""
    chain = _Chain(count)
    for at, pair in enumerate(pairs):
        chain.add(at, pair)
    if not is_anchored:  # what the image is multiplied by first is taken back by no layer
        chain.forgive_all()
    result = []
    for at, pair in enumerate(pairs):
        gauge = pair.gauge
        off, allowed = chain.off[at].reshape(-1), chain.allowed[at].reshape(-1)
        worst = int((np.abs(off) / allowed).argmax())
        steps = np.sqrt(gauge.off**2 + chain.lost[at]).reshape(-1)
        channel = int(steps.argmax())
        result.append(
            LayerParity(
                name=pair.layer.name,
                sqnr_db=gauge.sqnr_db,
                channel=channel,
                steps=float(steps[channel]),
                allowed=_MOST_STEPS,
                gain=float(np.exp(off[worst])),
                gain_allowed=float(allowed[worst]),
                gain_channel=worst,
            )
        )
    return tuple(result)


class _Chain:
    """The logarithm of the scale of every channel, as the first layer that makes it has it.

    Attributes:
        off: Of each layer, by how much its output channels are off, as far as it is known: against
            what must stay, against another layer that makes the same, or as a layer that reads
            them takes them.
        allowed: How far they may be.
        lost: Of each layer and output channel, the mean square in steps of weights that rounding
            left nothing of, as large as the layers that make what they read say they are.
    """

    def __init__(self, count: int) -> None:
        self.off: dict[int, Numbers] = {}
        self.allowed: dict[int, Numbers] = {}
        self.lost: dict[int, Numbers] = {}
        self._scales = np.zeros(count)
        self._errors = np.zeros(count)
        self._known = np.zeros(count, bool)
        self._known[0] = True  # of what must stay as it is
        self._makers: dict[int, tuple[int, int]] = {}  # the layer and row that set a scale
        self._ends: list[int] = []  # layers whose outputs must stay as they are

    def add(self, at: int, pair: _Pair) -> None:
        gauge = pair.gauge
        readable = (pair.read >= 0) & self._known[pair.read] & np.isfinite(gauge.column_errors)
        told = self._known[pair.made] & np.isfinite(gauge.row_errors)
        into = np.where(readable, gauge.columns - self._scales[pair.read], np.nan)
        out = np.where(told, -gauge.rows - self._scales[pair.made], np.nan)
        shift = _medians(into, out)
        rows, errors = self._rows(pair, shift, readable)
        self.off[at] = np.where(told, rows + shift[:, None] + self._scales[pair.made], 0.0)
        self.allowed[at] = _LEAST_GAIN + _ERRORS * np.hypot(errors, self._errors[pair.made])
        is_due = (pair.read >= 0) & self._known[pair.read] & np.isneginf(gauge.columns)
        factors = np.where(is_due, np.exp(2 * (self._scales[pair.read] + shift[:, None])), 0.0)
        self.lost[at] = (gauge.unseen * factors[:, None]).sum(2)
        if (pair.made == 0).all():
            self._ends.append(at)
        for group, channel in np.argwhere(readable):
            variable = int(pair.read[group, channel])
            if variable in self._makers:
                away = into[group, channel] - shift[group]
                error = np.hypot(gauge.column_errors[group, channel], self._errors[variable])
                self._blame(variable, float(away), float(_LEAST_GAIN + _ERRORS * error))
        for group, row in np.argwhere(~self._known[pair.made] & np.isfinite(gauge.row_errors)):
            variable = int(pair.made[group, row])
            self._known[variable] = True
            self._scales[variable] = -(rows[group, row] + shift[group])
            self._errors[variable] = errors[group, row]
            self._makers[variable] = (at, group * pair.made.shape[1] + row)

    def _rows(
        self, pair: _Pair, shift: Numbers, readable: NDArray[np.bool_]
    ) -> tuple[Numbers, Numbers]:
        """A layer's rows and their errors: where it leaves one open, as the channels read say.

        A row that shares nearly all of its power with one column can be told from it by nothing
        but the layer that made the column's channel.
        """
        gauge = pair.gauge
        total = gauge.power.sum(2, keepdims=True)
        shares = np.divide(gauge.power, total, where=total > 0, out=np.zeros_like(gauge.power))
        known = np.where(readable, self._scales[pair.read] + shift[:, None], 0.0)
        moved = np.where(readable, gauge.columns - known, 0.0)
        finite = np.where(np.isfinite(gauge.column_errors), gauge.column_errors, 0.0)
        spread = np.where(readable, self._errors[pair.read], finite) ** 2
        with np.errstate(divide="ignore"):
            errors = np.sqrt((shares**2 * spread[:, None]).sum(2) + 1 / total[:, :, 0])
        is_open = errors < gauge.row_errors / _OPEN
        rows = np.where(is_open, gauge.rows + (shares * moved[:, None]).sum(2), gauge.rows)
        errors = np.where(is_open, errors, gauge.row_errors)
        return rows, np.where(np.isfinite(errors), errors, 0.0)

    def _blame(self, variable: int, away: float, allowed: float) -> None:
        """Say of the layer that makes a channel by how much a reader takes it for another."""
        at, row = self._makers[variable]
        off, limits = self.off[at].reshape(-1), self.allowed[at].reshape(-1)
        if abs(away) / allowed > abs(off[row]) / limits[row]:
            off[row], limits[row] = away, allowed

    def forgive_all(self) -> None:
        """Take out of the last layers what all of their channels have in common."""
        for at in self._ends:
            self.off[at] = self.off[at] - np.median(self.off[at])


def _medians(into: Numbers, out: Numbers) -> Numbers:
    """What most of the channels of each group say of its shift; 0 where none says anything."""
    both = np.concatenate([into, out], axis=1)
    silent = np.isnan(both).all(1)
    result: Numbers = np.nanmedian(np.where(silent[:, None], 0.0, both), axis=1)
    return result

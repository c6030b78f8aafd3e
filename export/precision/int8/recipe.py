"""INT8 that keeps the accuracy: candidates compared on held-out images, the best one taken.

Without labels and without training: activation ranges are evened out, weights are rounded so that
each error is made up for by the next, biases take back the mean error. `plain` is among the
candidates, so that nothing is made worse unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.errors import DataError
from edgerep.export.graph.index import GraphIndex
from edgerep.export.precision.activations import Activations, observe
from edgerep.export.precision.free_scales import FreeScales, free_scales
from edgerep.export.precision.int8.equalisation import equalising_scales
from edgerep.export.precision.int8.findings import Candidate, Int8Findings, LayerFinding
from edgerep.export.precision.int8.likeness import Likeness, decibels, likeness
from edgerep.export.precision.int8.patches import second_moments
from edgerep.export.precision.int8.placement import Placement, placement_of
from edgerep.export.precision.int8.qdq_writer import Codes, with_pairs, write_weights_in_place
from edgerep.export.precision.int8.rounding import (
    rounded_to_nearest,
    rounded_together,
    row_scales,
)
from edgerep.export.precision.int8.walk import Walk, answer_of, mean_codes
from edgerep.export.precision.layers import Layer, put_constant_in_place
from edgerep.export.precision.rescaling import rescaled
from edgerep.export.precision.running import ModelRun

Doubles = NDArray[np.float64]

PLAIN = "plain"
_ALPHAS = (0.5, 1.0)
_HEAD_ROOM = 1.15
_QUANTILE = 0.999
_MOST_HELD_OUT = 64
_WIDEST = 4608  # columns of a row whose second moments are taken together: 85 MB in float32


@dataclass(frozen=True, slots=True)
class Int8Settings:
    """How a graph is quantised.

    Attributes:
        keep: Names of layers that stay in floating point.
        without: Stages that are left out, of `STAGES`.
        levels: The largest code: 127 is eight bits; fewer simulate narrower formats.
        seed: Of the positions that second moments are taken from.
        threads: Cores that ONNX Runtime may use; 0 leaves its own choice.
    """

    keep: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    levels: int = 127
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True, eq=False)
class _Ground:
    """What every candidate starts from."""

    model: onnx.ModelProto
    placement: Placement
    seen: Mapping[str, Activations]
    means: Mapping[str, Doubles]
    calibration: Callable[[], Iterator[Array]]
    held: Callable[[], Iterator[Array]]
    settings: Int8Settings


@dataclass(frozen=True, eq=False)
class _Made:
    """A candidate: a model, and by how much the channels of its tensors were divided."""

    model: onnx.ModelProto
    divided: Callable[[str, int], Doubles]
    steps: Mapping[int, float]


def quantise(
    model: onnx.ModelProto,
    images: Any,
    *,
    batch: int | None = None,
    settings: Int8Settings = Int8Settings(),
    watch: Callable[[str, int, int], None] = lambda what, done, count: None,
) -> tuple[onnx.ModelProto, Int8Findings]:
    """A graph in eight bits: Q/DQ pairs, int8 weights, float32 biases.

    Memory is bounded by what one batch of images makes of all tensors, by the codes of the widest
    place of the graph for all images, and by three matrices of 4608 x 4608.

    Args:
        model: A graph of float32 with one input, its preprocessing included.
        images: What it takes, [N, C, H, W]; sliced, never taken as a whole.
        batch: The only size of a batch that it takes; None where it is open.
        settings: How.
        watch: Told what is done, and how far it is.

    Returns:
        The quantised graph, and what was found.

    Raises:
        DataError: There are fewer than two images.
        OptionError: A layer of `settings.keep` is none.
        OnnxError: ONNX Runtime cannot run the graph.
    """
    ground = _ground(model, images, batch, settings, watch)
    placement = ground.placement
    outputs = [value.name for value in model.graph.output]
    truth = _Truth(ground, outputs)
    free = free_scales(model)
    plain = _unscaled(model)
    made: dict[str, _Made] = {PLAIN: _plain(ground, plain, head_room=1.0)}
    scales = {0.0: plain}
    if "equalisation" not in settings.without:
        ranges = {pair.tensor: ground.seen[pair.tensor].quantile(_QUANTILE)
                  for pair in placement.pairs}  # fmt: skip
        for alpha in _ALPHAS:
            even = equalising_scales(model, free, ranges, alpha)
            base = _Base(rescaled(model, free, even), free, even)
            scales[alpha] = base
            made[f"equalised {alpha:g}"] = _plain(ground, base, head_room=_HEAD_ROOM)
    found = {}
    for at, (name, candidate) in enumerate(made.items()):
        watch("comparing", at, len(made))
        found[name] = truth.of(candidate)
    best = max(found, key=lambda name: found[name].sqnr_db)
    base = next(b for name, b in zip(made, scales.values(), strict=True) if name == best)
    stages = [stage for stage in ("rounding", "bias") if stage not in settings.without]
    if stages:
        name = " + ".join([*([best] if best != PLAIN else []), *stages])
        made[name] = _walked(ground, base, stages, watch)
        found[name] = truth.of(made[name])
    chosen = max(found, key=lambda name: found[name].sqnr_db)
    layers = _layer_findings(ground, truth, made, chosen)
    findings = Int8Findings(
        chosen=chosen,
        candidates=tuple(Candidate(name, found[name]) for name in made),
        layers=layers,
        kept=placement.kept,
        not_equalised={
            pair.tensor: free.fixed[pair.tensor]
            for pair in placement.pairs
            if pair.tensor in free.fixed
        },
        equalised=int((scales[0.0] is not base) * (free.count - 1)),
        images=_count(ground.calibration),
        held_out=_count(ground.held),
    )
    return made[chosen].model, findings


@dataclass(frozen=True, eq=False)
class _Base:
    """A float graph that computes what the given one does, rescaled."""

    model: onnx.ModelProto
    free: FreeScales | None
    scales: Doubles

    def divided(self, name: str, axis: int) -> Doubles:
        if self.free is None or name not in self.free.variables:
            return np.ones(1)
        return self.scales[self.free.of(name, axis)]


def _unscaled(model: onnx.ModelProto) -> _Base:
    return _Base(model, None, np.ones(1))


def _ground(
    model: onnx.ModelProto,
    images: Any,
    batch: int | None,
    settings: Int8Settings,
    watch: Callable[[str, int, int], None],
) -> _Ground:
    count = len(images)
    if count < 2:
        raise DataError(f"INT8 is calibrated on images, some of them held out, and {count} is too "
                        f"few: 256 or more are asked for")  # fmt: skip
    every = max(2, count // min(_MOST_HELD_OUT, max(1, count // 8)))
    held = np.arange(every // 2, count, every)
    taken = np.setdiff1d(np.arange(count), held)
    placement = placement_of(model, settings.keep)
    size = batch or _batch_size(model, images.shape)
    calibration, control = _blocks(images, taken, size, batch), _blocks(images, held, size, batch)
    axes = {pair.tensor: 1 for pair in placement.pairs}
    axes.update({layer.source: layer.source_axis for layer in placement.layers})
    sums: dict[str, Doubles] = {}
    totals: dict[str, int] = {}

    def add(found: Mapping[str, Array]) -> None:
        for layer in placement.layers:
            values = np.moveaxis(found[layer.output], layer.source_axis, 0)
            values = values.reshape(len(values), -1)
            sums[layer.output] = sums.get(layer.output, 0.0) + values.sum(1, dtype=np.float64)
            totals[layer.output] = totals.get(layer.output, 0) + values.shape[1]

    seen = observe(
        model,
        ((block,) for block in calibration()),
        axes,
        threads=settings.threads,
        watch=lambda done: watch("ranges", done, len(taken)),
        also=add,
        outputs=[layer.output for layer in placement.layers],
    )
    means = {name: sums[name] / totals[name] for name in sums}
    return _Ground(model, placement, seen, means, calibration, control, settings)


def _blocks(
    images: Any, chosen: NDArray[np.int64], size: int, fixed: int | None
) -> Callable[[], Iterator[Array]]:
    """Batches of the chosen images; where only one size can be run, the last is filled up."""

    def blocks() -> Iterator[Array]:
        for start in range(0, len(chosen), size):
            at = chosen[start : start + size]
            if fixed is not None and len(at) < fixed:
                at = np.resize(np.concatenate([at, chosen]), fixed)
            yield np.asarray(images[at])

    return blocks


def _batch_size(model: onnx.ModelProto, shape: Sequence[int]) -> int:
    """How many images at a time: as many as hold 32 MB of pixels in float32, up to 32."""
    pixels = 4 * int(np.prod(shape[1:]))
    return int(np.clip(5_000_000 // pixels, 1, 32))


def _count(blocks: Callable[[], Iterator[Array]]) -> int:
    return sum(len(block) for block in blocks())


def _steps(ground: _Ground, base: _Base, head_room: float) -> dict[int, float]:
    """The step of each group of pairs, so that the largest value that was seen has a code."""
    largest: dict[int, float] = {}
    axes = {layer.source: layer.source_axis for layer in ground.placement.layers}
    for pair in ground.placement.pairs:
        seen = ground.seen[pair.tensor].largest / base.divided(
            pair.tensor, axes.get(pair.tensor, 1)
        )
        largest[pair.group] = max(largest.get(pair.group, 0.0), float(seen.max(initial=0.0)))
    levels = ground.settings.levels
    return {
        group: float(np.float32(max(value, 1e-30) * head_room / levels))
        for group, value in largest.items()
    }


def _plain(ground: _Ground, base: _Base, head_room: float) -> _Made:
    """Every weight rounded by itself."""
    steps = _steps(ground, base, head_room)
    model = with_pairs(base.model, ground.placement.pairs, steps)
    index = GraphIndex(base.model.graph)
    nodes = {node.output[0]: node for node in base.model.graph.node if node.output}
    codes = {}
    for layer in ground.placement.layers:
        weight = index.constant(nodes[layer.output].input[1])
        assert weight is not None
        codes[layer.name] = _nearest(layer, weight, ground.settings.levels)
    write_weights_in_place(model, ground.placement.layers, codes)
    return _Made(model, base.divided, steps)


def _walked(
    ground: _Ground,
    base: _Base,
    stages: Sequence[str],
    watch: Callable[[str, int, int], None],
) -> _Made:
    """Layer by layer on quantised inputs: rounded together, the mean error taken back."""
    placement, settings = ground.placement, ground.settings
    steps = _steps(ground, base, _HEAD_ROOM)
    model = with_pairs(base.model, placement.pairs, steps)
    index = GraphIndex(model.graph)
    groups = {pair.tensor: pair.group for pair in placement.pairs}
    walk = Walk(model, placement.layers, ground.calibration, settings.threads)
    nodes = {node.output[0]: node for node in model.graph.node if node.output}
    codes: dict[str, Codes] = {}
    biases: dict[str, Array] = {}
    for at, layer in enumerate(placement.layers):
        watch("rounding", at, len(placement.layers))
        blocks = walk.codes(layer)
        node = nodes[layer.output]
        weight = index.constant(node.input[1])
        assert weight is not None
        bias = index.constant(node.input[2]) if layer.bias else None
        found = _nearest(layer, weight, settings.levels)
        if "rounding" in stages:
            found = _together(layer, weight, found, blocks, settings)
        codes[layer.name] = found
        values = found.values(layer)
        if "bias" in stages and layer.operator != "MatMul":
            step = steps[groups[layer.source]]
            source = (mean_codes(blocks) * step).astype(np.float32)
            # Before this layer had a bias, its mean was that of its weights alone.
            zero = np.zeros(_outputs(layer, weight), np.float32)
            answer = answer_of(layer, values, zero if bias is None else bias, source)
            mean = answer.mean(axis=tuple(a for a in range(answer.ndim) if a != 1))
            wanted = ground.means[layer.output] / base.divided(layer.output, layer.source_axis)
            bias = ((zero if bias is None else bias) + (wanted - mean)).astype(np.float32)
            biases[layer.name] = bias
        walk.put(layer, values, bias)
    for layer in placement.layers:
        if layer.name in biases:
            put_constant_in_place(
                model.graph, nodes[layer.output], 2, biases[layer.name], f"{layer.name}.bias"
            )
    write_weights_in_place(model, placement.layers, codes)
    return _Made(model, base.divided, steps)


def _outputs(layer: Layer, weight: Array) -> int:
    groups, outputs = layer.rows(weight).shape[:2]
    return int(groups * outputs)


def _nearest(layer: Layer, weight: Array, levels: int) -> Codes:
    rows = layer.rows(weight)
    flat = rows.reshape(*rows.shape[:2], -1)
    scales = _shared_steps(layer, row_scales(flat, levels))
    return _codes(layer, weight, rounded_to_nearest(flat, scales, levels), scales)


def _together(
    layer: Layer, weight: Array, start: Codes, blocks: Sequence[Array], settings: Int8Settings
) -> Codes:
    rows = layer.rows(weight)
    groups, outputs, inputs, taps = rows.shape
    levels = settings.levels
    scales = np.broadcast_to(start.steps.astype(np.float64).reshape(-1, outputs), (groups, outputs))
    kernel = weight.shape[2:] if layer.operator == "Conv" else ()
    by_tap = layer.operator == "ConvTranspose"
    width = max(1, _WIDEST // (1 if by_tap else taps))
    result = np.zeros(rows.shape, np.int8)
    for first in range(0, inputs, width):
        part = slice(first, min(first + width, inputs))
        moments = second_moments(layer, blocks, kernel, settings.seed, part)
        some = rows[:, :, part]
        if by_tap:
            for tap in range(taps):
                result[:, :, part, tap] = rounded_together(some[..., tap], scales, levels, moments)
        else:
            flat = some.reshape(groups, outputs, -1)
            done = rounded_together(flat, scales, levels, moments)
            result[:, :, part] = done.reshape(some.shape)
    return _codes(layer, weight, result.reshape(groups, outputs, -1), scales)


def _shared_steps(layer: Layer, scales: Doubles) -> Doubles:
    """Steps that DequantizeLinear can say: of a `ConvTranspose` the groups share them."""
    if layer.operator == "ConvTranspose":
        return np.broadcast_to(scales.max(0, keepdims=True), scales.shape)
    return scales


def _codes(layer: Layer, weight: Array, rows: NDArray[np.int8], scales: Doubles) -> Codes:
    shape = layer.rows(weight).shape
    codes = layer.from_rows(rows.reshape(shape), weight.shape)
    steps = scales[0] if layer.operator == "ConvTranspose" else scales.reshape(-1)
    return Codes(np.ascontiguousarray(codes), steps.astype(np.float32))


class _Truth:
    """The float graph's answers to the held-out images, with which candidates are compared."""

    def __init__(self, ground: _Ground, outputs: Sequence[str]) -> None:
        self._ground = ground
        self._outputs = list(outputs)
        self._wanted = self._answers(ground.model)

    def of(self, candidate: _Made) -> Likeness:
        return likeness(self._wanted, self._answers(candidate.model))

    def _answers(self, model: onnx.ModelProto) -> list[Array]:
        runner = ModelRun(model, self._outputs, threads=self._ground.settings.threads)
        found = [runner.run({runner.inputs[0]: block}) for block in self._ground.held()]
        return [np.concatenate([one[name] for one in found]) for name in self._outputs]


def _layer_findings(
    ground: _Ground, truth: _Truth, made: Mapping[str, _Made], chosen: str
) -> tuple[LayerFinding, ...]:
    """Signal to noise of every layer's output, in the plain graph and in that of each stage."""
    layers = ground.placement.layers
    names = [layer.output for layer in layers]
    wanted = ModelRun(ground.model, names, threads=ground.settings.threads)
    signal: dict[str, float] = dict.fromkeys(names, 0.0)
    noise = {stage: dict.fromkeys(names, 0.0) for stage in made}
    runners = {
        stage: ModelRun(one.model, names, threads=ground.settings.threads)
        for stage, one in made.items()
    }
    for block in ground.held():
        exact = wanted.run({wanted.inputs[0]: block})
        for name in names:
            signal[name] += float((exact[name].astype(np.float64) ** 2).sum())
        for stage, runner in runners.items():
            found = runner.run({runner.inputs[0]: block})
            for layer in layers:
                back = _along(made[stage].divided(layer.output, layer.source_axis),
                              exact[layer.output].ndim, layer.source_axis)  # fmt: skip
                error = found[layer.output] * back - exact[layer.output]
                noise[stage][layer.output] += float((error.astype(np.float64) ** 2).sum())
    groups = {pair.tensor: pair.group for pair in ground.placement.pairs}
    return tuple(
        LayerFinding(
            layer.name,
            layer.operator,
            made[chosen].steps[groups[layer.source]],
            {stage: decibels(signal[layer.output], noise[stage][layer.output]) for stage in made},
        )
        for layer in layers
    )


def _along(values: Doubles, rank: int, axis: int) -> Doubles:
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)

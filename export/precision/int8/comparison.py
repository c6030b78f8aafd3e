"""Candidates compared with the float graph on held-out images, as a whole and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx

from edgerep.artefacts.tensors import Array
from edgerep.export.precision.int8.candidate import Candidate
from edgerep.export.precision.int8.findings import LayerFinding
from edgerep.export.precision.int8.ground import Ground, along
from edgerep.export.precision.int8.likeness import Likeness, decibels, likeness
from edgerep.export.precision.running import ModelRun


class HeldOut:
    """What the float graph answers to the held-out images.

    Args:
        ground: The graph and the images.
        threads: Cores that ONNX Runtime may use; 0 leaves its own choice.
        most: How many of the images are taken, at most, up to whole batches; None takes all.
    """

    def __init__(self, ground: Ground, threads: int, most: int | None = None) -> None:
        self._ground = ground
        self._most = most
        self._threads = threads
        self._outputs = [value.name for value in ground.model.graph.output]
        self._wanted = self._answers(ground.model, optimised=True)

    def likeness(self, model: onnx.ModelProto) -> Likeness:
        """How like another graph's answers are to those."""
        return likeness(self._wanted, self._answers(model))

    def layers(self, stages: Mapping[str, Candidate], chosen: str) -> tuple[LayerFinding, ...]:
        """Signal to noise of what every layer makes, in each stage, beside the float graph.

        Args:
            stages: Candidates by name.
            chosen: The one whose layers and steps are told.
        """
        layers = stages[chosen].placement.layers
        names = [layer.output for layer in layers]
        float_run = ModelRun(self._ground.model, names, threads=self._threads, optimised=True)
        runs = {
            stage: ModelRun(candidate.model(), names, threads=self._threads)
            for stage, candidate in stages.items()
        }
        signal = dict.fromkeys(names, 0.0)
        noise = {stage: dict.fromkeys(names, 0.0) for stage in stages}
        for block in self._images():
            exact = float_run.run({float_run.inputs[0]: block})
            for name in names:
                signal[name] += _square(exact[name])
            for stage, run in runs.items():
                found = run.run({run.inputs[0]: block})
                for layer in layers:
                    truth = exact[layer.output]
                    axis = layer.source_axis
                    back = stages[stage].base.divided(layer.output, axis)
                    error = found[layer.output] * along(back, truth.ndim, axis) - truth
                    noise[stage][layer.output] += _square(error)
        groups = {pair.tensor: pair.group for pair in stages[chosen].placement.pairs}
        return tuple(
            LayerFinding(
                layer.name,
                layer.operator,
                stages[chosen].steps[groups[layer.source]],
                {
                    stage: decibels(signal[layer.output], noise[stage][layer.output])
                    for stage in stages
                },
            )
            for layer in layers
        )

    def _images(self) -> Iterator[Array]:
        count = 0
        for block in self._ground.held_out():
            yield block
            count += len(block)
            if self._most is not None and count >= self._most:
                return

    def _answers(self, model: onnx.ModelProto, *, optimised: bool = False) -> Sequence[Array]:
        run = ModelRun(model, self._outputs, threads=self._threads, optimised=optimised)
        found = [run.run({run.inputs[0]: block}) for block in self._images()]
        return [np.concatenate([one[name] for one in found]) for name in self._outputs]


def _square(values: Array) -> float:
    return float((values.astype(np.float64) ** 2).sum())

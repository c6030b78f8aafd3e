"""What quantising a graph found and did: values and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgerep.export.precision.int8.likeness import Likeness


@dataclass(frozen=True, slots=True)
class Tried:
    """One way to quantise, and what held-out images say of it.

    Attributes:
        name: "plain", or the stages joined by " + ".
        likeness: To the float graph.
    """

    name: str
    likeness: Likeness

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **self.likeness.to_json()}


@dataclass(frozen=True, slots=True)
class LayerFinding:
    """One quantised layer.

    Attributes:
        name: Of the layer.
        operator: "Conv", "ConvTranspose", "Gemm" or "MatMul".
        input_step: The step of what it reads.
        stages: By the name of a candidate, signal to noise of its output in the whole quantised
            graph against the float graph, in decibels.
    """

    name: str
    operator: str
    input_step: float
    stages: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "operator": self.operator,
            "input_step": self.input_step,
            "sqnr_db": {stage: round(value, 2) for stage, value in self.stages.items()},
        }


@dataclass(frozen=True, slots=True)
class Int8Findings:
    """What was done to make a graph of eight bits.

    Attributes:
        chosen: The name of the candidate that was taken.
        candidates: All that were compared, in the order of the stages.
        layers: In the order of the graph.
        kept: Why layers stay in floating point, by name.
        not_equalised: Why tensors keep the scales that they arrived with, by name.
        equalised: How many channels were rescaled.
        images: On how many images the statistics were taken.
        held_out: On how many others the candidates were compared.
    """

    chosen: str
    candidates: tuple[Tried, ...]
    layers: tuple[LayerFinding, ...]
    kept: Mapping[str, str]
    not_equalised: Mapping[str, str]
    equalised: int
    images: int
    held_out: int

    @property
    def likeness(self) -> Likeness:
        """Of the candidate that was taken."""
        return next(c.likeness for c in self.candidates if c.name == self.chosen)

    def to_json(self) -> dict[str, Any]:
        return {
            "chosen": self.chosen,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "layers": [layer.to_json() for layer in self.layers],
            "kept": dict(self.kept),
            "not_equalised": dict(self.not_equalised),
            "equalised_channels": self.equalised,
            "images": self.images,
            "held_out": self.held_out,
        }

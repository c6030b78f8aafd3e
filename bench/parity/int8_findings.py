"""What is found of an int8 artefact beside its figures: values, and their JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StepParity:
    """One quantiser of an artefact: whether its integers are those of the graph.

    Attributes:
        name: Of the graph's node.
        rows: How many answers were looked at.
        beyond: How far what reaches the quantiser in exact arithmetic is from what its integer
            stands for, beyond half a step, at most; in steps.
        allowed: How far rounding may bring it.
        integers: How many integers were looked at.
        clipped: The share of them at either end of their range.
    """

    name: str
    rows: int
    beyond: float
    allowed: float
    integers: int
    clipped: float

    @property
    def passed(self) -> bool:
        return self.beyond <= self.allowed

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


@dataclass(frozen=True, slots=True)
class LayerParity:
    """The int8 weights of one layer beside those of the float network.

    Attributes:
        name: Of the layer.
        sqnr_db: Of the weights, after the scales of its channels are taken out.
        channel: The output channel that is furthest off.
        steps: How far that channel's weights are off, as a root mean square, in its own steps.
        allowed: How far rounding may bring them.
        gain: How many times larger than in the float network what it makes of a channel is, of the
            channel where that is furthest from 1, after the next layer has taken it back.
        gain_allowed: How far from 1 that may be.
        gain_channel: That channel.
    """

    name: str
    sqnr_db: float
    channel: int
    steps: float
    allowed: float
    gain: float
    gain_allowed: float
    gain_channel: int

    @property
    def passed(self) -> bool:
        return self.steps <= self.allowed and abs(self.gain - 1) <= self.gain_allowed

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}

"""What is found of an int8 artefact beside its figures: values, and their JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# Percentile and entropy calibrators leave out a few numbers in a hundred; a range that is wrong by
# a factor leaves out tens of them, or is hardly used.
MOST_CLIPPED = 0.1
LEAST_USED = 1 / 16
WELL_USED = 1 / 2  # below it a code is lost, which is said; a shared range may be as wide rightly
LEAST_IMAGES = 8  # from which on images tell of a range


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
        clipped: On the user's images: the share of numbers that are beyond its range.
        used: On the user's images: the share of its range that the largest number takes.
        images: On how many images.
    """

    name: str
    rows: int
    beyond: float
    allowed: float
    integers: int
    clipped: float
    used: float
    images: int

    @property
    def fits(self) -> bool:
        """Whether its range is that of the user's images, as far as these can tell."""
        within = self.clipped <= MOST_CLIPPED and self.used >= LEAST_USED
        return not self._is_told or within

    @property
    def is_wide(self) -> bool:
        """Whether the user's images take less than half of its range."""
        return self._is_told and self.used < WELL_USED

    @property
    def _is_told(self) -> bool:
        return self.images >= LEAST_IMAGES and self.used > 0  # nothing but zeros tells nothing

    @property
    def passed(self) -> bool:
        return self.beyond <= self.allowed and self.fits

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

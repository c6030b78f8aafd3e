"""What is done to an image before the network sees it; read back from a record too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgerep.errors import OptionError

INPUT_KINDS = ("float", "uint8")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Normalisation in torchvision's terms: `(x / 255 - mean) / std` of uint8 pixels.

    Attributes:
        input: "float": the network is given numbers in 0..1, and `mean` and `std` are applied to
            them as they are; without `mean` and `std` the input is whatever the network was
            trained on. "uint8": it is given pixels, 0..255, and the division by 255 is part of
            the model too.
        mean: Per channel of the image, in units of 0..1; empty for 0.
        std: Per channel, in units of 0..1; empty for 1.
    """

    input: str = "float"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.input not in INPUT_KINDS:
            raise OptionError(f"input {self.input!r} is neither {' nor '.join(INPUT_KINDS)}")
        if (
            any(not np.isfinite(v) for v in (*self.mean, *self.std))
            or min(self.std, default=1) <= 0
        ):
            raise OptionError(f"mean {self.mean} and std {self.std}: finite numbers, std above 0")

    @property
    def is_identity(self) -> bool:
        return self.input == "float" and not self.mean and not self.std

    @property
    def dtype(self) -> str:
        return "uint8" if self.input == "uint8" else "float32"

    def subtrahend(self, channels: int) -> NDArray[np.float64]:
        """What is subtracted from the input as it comes, [channels], float64."""
        return self._per_channel(self.mean, 0.0, "mean", channels) * self._scale

    def factor(self, channels: int) -> NDArray[np.float64]:
        """What the difference is multiplied by, [channels], float64."""
        return 1 / (self._per_channel(self.std, 1.0, "std", channels) * self._scale)

    def apply(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """The definition, in float64: images [N, C, H, W] to what the network was trained on."""
        channels = images.shape[1]
        shape = (1, channels, 1, 1)
        difference = images.astype(np.float64) - self.subtrahend(channels).reshape(shape)
        result: NDArray[np.float64] = difference * self.factor(channels).reshape(shape)
        return result

    @property
    def _scale(self) -> float:
        return 255.0 if self.input == "uint8" else 1.0

    def _per_channel(
        self, values: Sequence[float], default: float, name: str, channels: int
    ) -> NDArray[np.float64]:
        if not values:
            return np.full(channels, default)
        if len(values) not in (1, channels):
            raise OptionError(
                f"{name} has {len(values)} values and the image {channels} channels: give one, or "
                f"one per channel"
            )
        return np.broadcast_to(np.asarray(values, np.float64), (channels,)).copy()


NO_PREPROCESSING = Preprocessing()


def preprocessing_of(made_from: Sequence[Mapping[str, Any]]) -> Preprocessing:
    """The preprocessing of the nearest ONNX graph in a chain of sources."""
    for entry in made_from:
        if entry.get("kind") == "onnx":
            return preprocessing_from(entry.get("options", {}))
    return NO_PREPROCESSING


def preprocessing_from(options: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing in an export's recorded options."""
    fields = options.get("preprocessing")
    if not fields:
        return NO_PREPROCESSING
    return Preprocessing(fields["input"], tuple(fields["mean"]), tuple(fields["std"]))

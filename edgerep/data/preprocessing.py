"""What is done to an image before the network sees it, and how it is read back from a record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgerep.errors import OptionError

if TYPE_CHECKING:  # NumPy is loaded where images are: the command line reads options without it
    import numpy as np
    from numpy.typing import NDArray

INPUT_KINDS = ("float", "uint8")
FITS = ("crop", "letterbox", "stretch")  # how a picture comes to the network's size

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# `mean` and `std` by name, in units of 0..1.
PRESETS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": _IMAGENET,  # torchvision's, and that of the official RepVGG
    "timm-default": _IMAGENET,  # timm's IMAGENET_DEFAULT, where a network names no other
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # timm's IMAGENET_INCEPTION: -1..1
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "unit": ((), ()),  # 0..1 as they are
}
# What a mean and a std of numbers in 0..1 cannot reach, and those of pixels in 0..255 do.
_LARGEST_MEAN, _LARGEST_STD = 1.0, 2.0


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Normalisation in torchvision's terms: `(x / 255 - mean) / std` of uint8 pixels.

    Attributes:
        input: "float": the model is given numbers in 0..1, and `mean` and `std` are applied to
            them as they are; without `mean` and `std` the input is whatever the network was
            trained on. "uint8": the model is given pixels, 0..255, and divides them by 255 itself.
        mean: One number, or one per channel, in units of 0..1; empty for 0.
        std: One number, or one per channel, in units of 0..1; empty for 1.

    Raises:
        OptionError: `input` is unknown, a number is not finite, or a `std` is not above 0.
    """

    input: str = "float"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.input not in INPUT_KINDS:
            raise OptionError(f"input {self.input!r} is neither {' nor '.join(INPUT_KINDS)}")
        if (
            any(not math.isfinite(v) for v in (*self.mean, *self.std))
            or min(self.std, default=1) <= 0
        ):
            raise OptionError(f"mean {self.mean} and std {self.std}: finite numbers, std above 0")

    @property
    def is_identity(self) -> bool:
        return self.input == "float" and not self.mean and not self.std

    @property
    def dtype(self) -> str:
        return "uint8" if self.input == "uint8" else "float32"

    def require_plausible(self) -> None:
        """Refuse a mean and a std of pixels in 0..255 for pixels that are divided by 255 first.

        Raises:
            OptionError: `input` is "uint8", and `mean` or `std` is out of reach of 0..1.
        """
        large = max(map(abs, self.mean), default=0) > _LARGEST_MEAN
        large = large or max(self.std, default=0) > _LARGEST_STD
        if self.input != "uint8" or not large:
            return
        mean, std = _shown(self.mean, "0"), _shown(self.std, "1")
        scaled_mean = _shown([round(value / 255, 4) for value in self.mean], "0")
        scaled_std = _shown([round(value / 255, 4) for value in self.std], "1")
        raise OptionError(
            f"pixels are divided by 255 first, so that the network would see (pixel / 255 - "
            f"{mean}) / {std}, nearly the same number for black and for white. If it was trained "
            f"on (pixel - {mean}) / {std}, then in units of 0..1 that is mean {scaled_mean} and "
            f"std {scaled_std}: give those (--mean {scaled_mean} --std {scaled_std})"
        )

    def describe(self) -> str:
        """What the network sees of what the model is given, in one sentence."""
        mean, std = _shown(self.mean, ""), _shown(self.std, "")
        unit = "pixel / 255" if self.input == "uint8" else "the input"
        if not mean and not std:
            return (
                f"the network sees {unit}, numbers from 0 to 1; if it was trained on normalised "
                f"images, give --preset, or --mean and --std"
                if self.input == "uint8"
                else "the network sees the input as it is given"
            )
        numerator = f"({unit} - {mean})" if mean else unit
        return f"the network sees {numerator}{f' / {std}' if std else ''}"

    def subtrahend(self, channels: int) -> NDArray[np.float64]:
        """What is subtracted from the input, [channels], in the units of the input: 0..1 or 0..255.

        Raises:
            OptionError: `mean` has neither one number nor one per channel.
        """
        return self._per_channel(self.mean, 0.0, "mean", channels) * self._scale

    def factor(self, channels: int) -> NDArray[np.float64]:
        """What the input less `subtrahend` is multiplied by, [channels].

        Raises:
            OptionError: `std` has neither one number nor one per channel.
        """
        return 1 / (self._per_channel(self.std, 1.0, "std", channels) * self._scale)

    def apply(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Images [N, C, H, W] as the network was trained on them: the definition, in float64.

        Raises:
            OptionError: `mean` or `std` has neither one number nor one per channel.
        """
        import numpy as np

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
        import numpy as np

        if not values:
            return np.full(channels, default)
        if len(values) not in (1, channels):
            raise OptionError(
                f"{name} has {len(values)} values and the image {channels} channels: give one, or "
                f"one per channel"
            )
        return np.broadcast_to(np.asarray(values, np.float64), (channels,)).copy()


def _shown(values: Sequence[float], none: str) -> str:
    return ",".join(f"{value:.7g}" for value in values) or none


NO_PREPROCESSING = Preprocessing()


def preprocessing_of(made_from: Sequence[Mapping[str, Any]]) -> Preprocessing:
    """The preprocessing inside whatever has these sources: that of its nearest ONNX graph.

    Args:
        made_from: The sources, nearest first; without a graph there is no preprocessing.

    Raises:
        OptionError: The recorded preprocessing is out of range.
    """
    for entry in made_from:
        if entry.get("kind") == "onnx":
            return preprocessing_from(entry.get("options", {}))
    return NO_PREPROCESSING


def preprocessing_from(options: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing in the recorded options of an ONNX graph; none where they state none.

    Raises:
        OptionError: The recorded preprocessing is out of range.
    """
    fields = options.get("preprocessing")
    if not fields:
        return NO_PREPROCESSING
    return Preprocessing(fields["input"], tuple(fields["mean"]), tuple(fields["std"]))

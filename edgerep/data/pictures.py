"""Pictures of a folder as a network is given them, decoded when they are asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.data.picture_decoding import Look, decode
from edgerep.data.picture_folder import FolderContent, labels_of
from edgerep.data.pixels import Rows
from edgerep.data.preprocessing import FITS, NO_PREPROCESSING, PRESETS, Preprocessing
from edgerep.errors import DataError, OptionError

_KEPT_BYTES = 128 << 20  # of pixels that were decoded: 890 pictures of 224x224


class Pictures:
    """The pictures of a folder, before it is known what takes them.

    Args:
        content: What the folder has.
        fit: How they come to the network's size: one of `FITS`.
        preset: One of `PRESETS`: what is done to numbers in 0..1 in front of a graph that takes
            float32 and has no preprocessing of its own; None where that was not said.

    Raises:
        OptionError: `fit` or `preset` is unknown.
    """

    def __init__(self, content: FolderContent, *, fit: str = "crop", preset: str | None = None):
        if fit not in FITS:
            raise OptionError(f"fit {fit!r} is not one of {', '.join(FITS)}")
        if preset is not None and preset not in PRESETS:
            raise OptionError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
        self.content = content
        self.there = content.there
        self._fit = fit
        self._preset = preset

    def __len__(self) -> int:
        return len(self.content.files)

    @cached_property
    def labels(self) -> Array | None:
        """One whole number for each, where the folder says them."""
        return labels_of(self.content)

    def require_known(self, dtype: str, preprocessing: Preprocessing) -> None:
        """Refuse to guess which numbers a network takes.

        Args:
            dtype: Of its input.
            preprocessing: What it does to it itself.

        Raises:
            DataError: It takes float32 without preprocessing, and no preset was said.
            OptionError: A preset that normalises was said, and it takes numbers that are not.
        """
        plain = dtype == "float32" and preprocessing.is_identity
        if not plain and self._preset not in (None, "unit"):
            raise OptionError(
                f"the image preset {self._preset} is for a model that takes normalised numbers, "
                f"and this one takes {'pixels' if dtype == 'uint8' else 'numbers from 0 to 1'}: "
                f"leave it out"
            )
        if plain and self._preset is None:
            raise DataError(
                f"{self.content.folder} has pictures, and the model takes numbers that were "
                f"normalised before, nothing says how. Put that into the model (--preset imagenet, "
                f"or --mean and --std; --input uint8 for pixels), or say what is done to the "
                f"pictures in front of it: --image-preset imagenet, or unit for 0..1 as they are "
                f"(in Python `edgerep.read_images(folder, preset=...)`)"
            )

    def pixels_for(self, spec: TensorSpec, preprocessing: Preprocessing) -> FolderPixels:
        """The pictures as one input takes them.

        Args:
            spec: The input, [N, C, H, W], uint8 or float32.
            preprocessing: What the model does to it itself.

        Raises:
            DataError: The input takes no pictures, or numbers of which nothing is known.
            OptionError: A preset was said, and the model normalises by itself.
        """
        shape = spec.concrete(1)[1:]
        if len(shape) != 3 or shape[0] not in (1, 3) or spec.dtype not in ("uint8", "float32"):
            raise DataError(
                f"{self.content.folder} has pictures, and the model takes {spec.dtype} "
                f"{list(shape)}, not a grey or colour image [1 or 3, H, W] in uint8 or float32: "
                f"give arrays, .npz, .npy or .safetensors"
            )
        self.require_known(spec.dtype, preprocessing)
        look = Look(shape[1], shape[2], shape[0], self._fit)
        outside = NO_PREPROCESSING
        if self._preset is not None:  # "unit" where the model normalises by itself
            outside = Preprocessing("float", *PRESETS[self._preset])
        return FolderPixels(self.content.files, look, spec.dtype, outside)


class FolderPixels:
    """Pixels [N, C, H, W] of picture files: uint8, or float32 from 0 to 1, normalised or not.

    The first 128 MiB that are decoded are kept; the rest is decoded whenever it is asked for.
    """

    def __init__(
        self, files: tuple[Path, ...], look: Look, dtype: str, outside: Preprocessing
    ) -> None:
        self._files = files
        self._look = look
        self._outside = outside
        self._kept: dict[int, Array] = {}
        self._room = _KEPT_BYTES
        self.shape = (len(files), look.channels, look.height, look.width)
        self.dtype = np.dtype(dtype)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: Rows) -> Array:
        wanted = np.arange(len(self))[rows]
        found = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for place, row in enumerate(wanted):
            found[place] = self._numbers(self._pixels(int(row)))
        return found

    def _pixels(self, row: int) -> Array:
        if (kept := self._kept.get(row)) is not None:
            return kept
        try:
            pixels = decode(self._files[row], self._look)
        except DataError as error:
            raise DataError(f"{self._files[row]}: {error}") from error
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[row] = pixels
        return pixels

    def _numbers(self, pixels: Array) -> Array:
        if self.dtype == np.uint8:
            return pixels
        share: Array = pixels / 255
        if self._outside.is_identity:
            return share
        normalised: Array = self._outside.apply(share[None])[0]
        return normalised

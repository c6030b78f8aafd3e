"""The images of a user, from a folder, a file, an array or an iterable, and labels with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from edgerep.artefacts.kinds import WEIGHTS_SUFFIX, kind_of
from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.data.array_files import read_arrays, read_tensors
from edgerep.data.picture_decoding import SUFFIXES
from edgerep.data.picture_folder import read_folder
from edgerep.data.pictures import Pictures
from edgerep.data.pixels import First, Pixels
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing
from edgerep.data.spooling import array_of, spool
from edgerep.errors import DataError, OptionError, first_line, given
from edgerep.outside.regular import require_regular

_CHUNK = 64  # images that are looked at together
ASKED_FOR = 256  # images for calibration
FEW = 64


class ImageSource(Protocol):
    """Images before it is known what takes them.

    Attributes:
        there: How many there were, of which these are the first.
    """

    @property
    def there(self) -> int: ...

    @property
    def labels(self) -> Array | None: ...

    def __len__(self) -> int: ...

    def require_known(self, dtype: str, preprocessing: Preprocessing) -> None:
        """Refuse images for a network that takes nobody knows which numbers."""

    def pixels_for(self, spec: TensorSpec, preprocessing: Preprocessing) -> Pixels:
        """The images as the input `spec` of a model takes them that does `preprocessing` itself.

        Raises:
            DataError: They do not fit it.
            OptionError: What was said of them does not.
        """


# What may be given for images: a path, an array [N, C, H, W], an iterable of [C, H, W] or of
# batches, or what `read_images` returned.
Given: TypeAlias = "str | os.PathLike[str] | Array | Iterable[object] | ImageSource"


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels [N, C, H, W], uint8 or float32, and their labels [N] where there are any.

    An `ImageSource` whose images are arrays already.
    """

    pixels: Pixels
    labels: Array | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def there(self) -> int:
        return len(self.pixels)

    def require_known(self, dtype: str, preprocessing: Preprocessing) -> None:
        """Arrays are given as the model takes them: nothing is to be known."""

    def pixels_for(self, spec: TensorSpec, preprocessing: Preprocessing) -> Pixels:
        """The pixels, which fit `spec`.

        Raises:
            DataError: They do not.
        """
        pixels = self.pixels
        if isinstance(pixels, np.ndarray) and len(pixels.shape) == len(spec.shape) - 1:
            pixels = pixels[None]  # one by itself
        require_fitting(pixels, spec)
        return pixels


def require_fitting(images: Pixels, spec: TensorSpec) -> None:
    """Refuse images [N, C, H, W] whose C, H, W or type is not that of a model's input.

    What is no image, [N, ...], is held to the input's own shape in the same way.

    Raises:
        DataError: They differ; both are named.
    """
    wanted = spec.concrete(1)[1:]
    if images.shape[1:] != wanted or images.dtype != np.dtype(spec.dtype):
        raise DataError(
            f"the images given are {images.dtype} {list(images.shape[1:])}, and the model takes "
            f"{spec.dtype} {list(wanted)}{' ([C, H, W])' if len(wanted) == 3 else ''}"
        )


def images_for(
    images: Given, spec: TensorSpec, preprocessing: Preprocessing = NO_PREPROCESSING
) -> Pixels:
    """Images as one input of a model takes them, whatever they were given as.

    Args:
        images: A path, an array, an iterable, or what `read_images` returned.
        spec: The input.
        preprocessing: What the model does to it itself.

    Raises:
        DataError: They cannot be read, or do not fit.
        OptionError: They are nothing of that.
        MissingDependencyError: They are pictures, and Pillow is not installed.
        OutputError: An iterable finds no room on the disk.
    """
    return as_images(images).pixels_for(spec, preprocessing)


def as_images(images: Given, *, name: str = "calibration") -> ImageSource:
    """Whatever was given for images, as one value. An iterable is read, once, into a file.

    Args:
        images: A path, an array, an iterable, or what `read_images` returned.
        name: Of the argument, for messages.

    Raises:
        DataError: They cannot be read, or there is none.
        OptionError: They are nothing of that.
        MissingDependencyError: They are pictures, and Pillow is not installed.
        OutputError: An iterable finds no room on the disk.
    """
    if isinstance(images, Images | Pictures):
        return images
    if isinstance(images, str | os.PathLike):
        return read_images(Path(images))
    found = array_of(images)
    if found is not None:
        if found.ndim < 2 or 0 in found.shape:
            raise OptionError(
                f"`{name}` has no image: its shape is {list(found.shape)}, and [N, C, H, W] is "
                f"wanted, or [N, ...] of a network whose input is no image"
            )
        _require_finite(found, f"`{name}`")
        return Images(found)
    if isinstance(images, Iterable) and not isinstance(images, dict | bytes):
        return Images(spool(images))
    raise OptionError(
        f"`{name}` is a path, an array of images [N, C, H, W] or an iterable of such arrays, and "
        f"{given(images)}"
    )


def read_images(
    path: str | Path,
    *,
    fit: str = "crop",
    preset: str | None = None,
    most: int | None = None,
    watch: Callable[[int, int], None] = lambda done, count: None,
) -> Images | Pictures:
    """Read images, and labels where there are any: from a folder of pictures or a file of arrays.

    An `.npz` or `.safetensors` has `images` [N, C, H, W], uint8 or float32, and perhaps `labels`
    [N]; an `.npy` is the images alone. Pictures are JPEG, PNG, WebP, BMP, GIF, TIFF or PPM files,
    in any depth of folders; their labels are `labels.txt`, or the names of the folders. Nothing
    pickled is read, and what is not compressed is read when it is needed.

    Args:
        path: Of the folder or file.
        fit: How pictures come to the size of a network: "crop" (the shorter side to size / 0.875,
            then the middle), "letterbox" or "stretch".
        preset: "imagenet", "unit" and others: what is done to pictures in 0..1 in front of a model
            that takes float32 and does not normalise by itself.
        most: So many pictures are enough: the first; None takes all. Files are read whole.
        watch: Told how many pictures were tried, of how many.

    Raises:
        DataError: The file or folder is not that, its arrays do not fit each other, or more than
            one in ten pictures is broken.
        OptionError: `fit` or `preset` is unknown, or `most` is below 1.
        MissingDependencyError: They are pictures, and Pillow is not installed.
    """
    path = Path(path)
    if most is not None and (not isinstance(most, int) or most < 1):
        raise OptionError(f"most {most!r}: at least 1 image is read")
    if path.is_dir():
        return Pictures(read_folder(path, most=most, watch=watch), fit=fit, preset=preset)
    require_regular(path, DataError)
    if path.suffix.lower() in SUFFIXES:
        raise DataError(f"{path} is one picture: give the folder that it is in")
    is_tensors = path.suffix.lower() == WEIGHTS_SUFFIX
    if (kind := kind_of(path)) and not is_tensors:
        raise DataError(
            f"{path} is not an .npz or .npy file of images, but one of {kind}: "
            f'`numpy.savez("images.npz", images=...)` writes one, uint8 or float32 [N, C, H, W]'
        )
    wanted = ("images", "labels")
    try:
        arrays = read_tensors(path, wanted) if is_tensors else read_arrays(path, wanted, "images")
    except DataError:
        raise
    except Exception as error:  # damaged bytes: NumPy, zipfile and zlib have no error in common
        raise DataError(
            f"{path} is not an .npz or .npy file of plain arrays: {first_line(error)[:300]}"
        ) from error
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None:
        others = ", ".join(name[:40] for name in list(arrays)[:8])
        raise DataError(f"{path} has no array `images`, only {others or 'nothing'}")
    return Images(_checked(images, path), _checked_labels(labels, len(images), path))


def few_images(count: int) -> str | None:
    """What is to be said of so few images for calibration; None where they are enough."""
    if count >= FEW:
        return None
    named = "1 image for calibration is" if count == 1 else f"{count} images for calibration are"
    return (
        f"{named} few: what the network sees later may lie beyond their range. {ASKED_FOR} or more "
        f"are asked for"
    )


def first_images(pixels: Pixels, most: int | None) -> Pixels:
    """The first images; all of them where `most` is None."""
    return pixels if most is None or most >= len(pixels) else First(pixels, most)


def _checked(images: Pixels, path: Path) -> Pixels:
    if len(images.shape) != 4 or 0 in images.shape or images.dtype not in (np.uint8, np.float32):
        is_other = len(images.shape) in (2, 3, 5)
        hint = (
            "; of a network whose input is no image, calibrate in Python with an array [N, ...], "
            "or make fp16 or int8-weights, which need none"
        ) * is_other
        raise DataError(
            f"{path}: images must be uint8 or float32 [N, C, H, W], at least one; found "
            f"{images.dtype} {list(images.shape)}{hint}"
        )
    _require_finite(images, str(path))
    return images


def _require_finite(images: Pixels, source: str) -> None:
    for start in range(0, len(images) if images.dtype.kind == "f" else 0, _CHUNK):
        if not np.isfinite(images[start : start + _CHUNK]).all():
            raise DataError(
                f"{source}: one of images {start} to {min(start + _CHUNK, len(images)) - 1} has "
                f"NaN or infinity, on which no two networks can be compared"
            )


def _checked_labels(labels: Pixels | None, count: int, path: Path) -> Array | None:
    if labels is None:
        return None
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: labels must be {count} integers, one per image; found "
            f"{labels.dtype} {list(labels.shape)}"
        )
    return labels[:]

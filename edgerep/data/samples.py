"""Images and labels of the user, from .npz or .npy: for parity and accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgerep.artefacts.kinds import kind_of
from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.data.array_files import read_arrays
from edgerep.errors import DataError, first_line
from edgerep.outside.regular import require_regular

_CHUNK = 64  # images that are looked at together


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels [N, C, H, W], uint8 or float32, and their labels [N] where the file has them."""

    pixels: Array
    labels: Array | None


def require_fitting(images: Array, spec: TensorSpec) -> None:
    """Refuse images [N, C, H, W] whose C, H, W or type is not that of a model's input.

    Raises:
        DataError: They differ; both are named.
    """
    wanted = spec.concrete(1)[1:]
    if images.shape[1:] != wanted or images.dtype != np.dtype(spec.dtype):
        raise DataError(
            f"the images given are {images.dtype} {list(images.shape[1:])}, and the model takes "
            f"{spec.dtype} {list(wanted)} ([C, H, W])"
        )


def read_images(path: Path) -> Images:
    """Read images, and labels where there are any, from an `.npz` or `.npy` file.

    An `.npz` has `images` [N, C, H, W] and perhaps `labels` [N]; an `.npy` is the images alone.
    Nothing pickled is read.

    Raises:
        DataError: The file is not that, or its arrays do not fit each other.
    """
    require_regular(path, DataError)
    if kind := kind_of(path):
        raise DataError(
            f"{path} is not an .npz or .npy file of images, but one of {kind}: "
            f'`numpy.savez("images.npz", images=...)` writes one, uint8 or float32 [N, C, H, W]'
        )
    try:
        arrays = read_arrays(path, ("images", "labels"), alone="images")
    except Exception as error:  # damaged bytes: NumPy, zipfile and zlib have no error in common
        raise DataError(
            f"{path} is not an .npz or .npy file of plain arrays: {first_line(error)[:300]}"
        ) from error
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None:
        others = ", ".join(name[:40] for name in list(arrays)[:8])
        raise DataError(f"{path} has no array `images`, only {others or 'nothing'}")
    if images.ndim != 4 or not len(images) or images.dtype not in (np.uint8, np.float32):
        raise DataError(
            f"{path}: images must be uint8 or float32 [N, C, H, W], at least one; found "
            f"{images.dtype} {list(images.shape)}"
        )
    for start in range(0, len(images) if images.dtype == np.float32 else 0, _CHUNK):
        if not np.isfinite(images[start : start + _CHUNK]).all():
            raise DataError(
                f"{path}: one of images {start} to {min(start + _CHUNK, len(images)) - 1} has NaN "
                f"or infinity, on which no two networks can be compared"
            )
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        raise DataError(
            f"{path}: labels must be {len(images)} integers, one per image; found "
            f"{labels.dtype} {list(labels.shape)}"
        )
    return Images(images, labels)

"""Images and labels of the user, from .npz or .npy: for parity and accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.errors import DataError


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
    try:
        arrays = _read_arrays(path)
    except Exception as error:  # damaged bytes: NumPy, zipfile and zlib have no error in common
        raise DataError(f"{path} is not an .npz or .npy file of plain arrays: {error}") from error
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None:
        raise DataError(f"{path} has no array `images`, only {', '.join(arrays)}")
    if images.ndim != 4 or not len(images) or images.dtype not in (np.uint8, np.float32):
        raise DataError(
            f"{path}: images must be uint8 or float32 [N, C, H, W], at least one; found "
            f"{images.dtype} {list(images.shape)}"
        )
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        raise DataError(
            f"{path}: labels must be {len(images)} integers, one per image; found "
            f"{labels.dtype} {list(labels.shape)}"
        )
    return Images(images, labels)


def _read_arrays(path: Path) -> dict[str, Array | None]:
    """`images` and `labels` where the file has them; None for any other array, which is not read.

    The array of an `.npy` file is its images.
    """
    with path.open("rb") as file:  # NumPy leaves a file that it opened and refuses open
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"images": content}
        with content:
            arrays = {
                name: content[name] if name in ("images", "labels") else None for name in content
            }
    # A member without NumPy's header comes back as bytes.
    if bare := [n for n, array in arrays.items() if not isinstance(array, np.ndarray | None)]:
        raise ValueError(f"{', '.join(bare)} is no array")
    return arrays

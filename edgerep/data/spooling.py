"""Arrays that come one after another, put into a file that is gone when nobody reads it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.data.pixels import StoredArray
from edgerep.errors import DataError, OptionError, OutputError, given
from edgerep.outside.regular import GIB

_MOST_IMAGES = 1_000_000
_LEFT_FREE = GIB // 4  # of the disk that the file is on
_EVERY = 64  # arrays, after which the disk is looked at


def spool(items: Iterable[Any]) -> StoredArray:
    """Read an iterable once into a temporary file; no more than one item is in memory.

    Args:
        items: Images [C, H, W], batches of them [N, C, H, W], or pairs that begin with one, as
            data loaders give them: NumPy arrays or tensors on the CPU, uint8 or floating-point.

    Raises:
        OptionError: An item is no such array, or has another shape or type than the first.
        DataError: There is none, an image has NaN or infinity, or there are more than a million.
        OutputError: The disk of temporary files is full.
    """
    handle, name = tempfile.mkstemp(prefix="edgerep-images-")
    shape: tuple[int, ...] | None = None
    dtype, count = np.dtype(np.float32), 0
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            for place, item in enumerate(items):
                images = _images_in(item, place)
                if shape is None:
                    shape, dtype = images.shape[1:], images.dtype
                if (images.shape[1:], images.dtype) != (shape, dtype):
                    raise OptionError(
                        f"images of one type and size [C, H, W] are needed; item 0 of the iterable "
                        f"has {dtype} {list(shape)}, and item {place} {images.dtype} "
                        f"{list(images.shape[1:])}"
                    )
                count += len(images)
                if count > _MOST_IMAGES:
                    raise DataError(f"the iterable gives more than {_MOST_IMAGES:,} images")
                _append(file, images, look=place % _EVERY == 0)
        if shape is None or not count:
            raise DataError("the iterable gives no image; a generator can be read once only")
        return StoredArray(Path(name), 0, (count, *shape), dtype)
    finally:
        os.unlink(name)


def _append(file: FileIO, images: Array, *, look: bool) -> None:
    """Write images at the end of a file; with `look` see first whether the disk has room."""
    try:
        if look and shutil.disk_usage(file.name).free < _LEFT_FREE:
            raise OSError("hardly any room is left")
        content = np.ascontiguousarray(images).data.cast("B")
        while content:
            content = content[file.write(content) :]
    except OSError as error:
        raise OutputError(
            f"the images of the iterable cannot be put into {file.name}: "
            f"{error.strerror or error}. Set TMPDIR to a folder with room, or give fewer"
        ) from error


def array_of(value: Any) -> Array | None:
    """A NumPy array, or a tensor as one; None for anything else."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # torch's, which is not loaded for it
        found: Array = value.detach().cpu().numpy()
        return found
    return None


def _images_in(item: Any, place: int) -> Array:
    if isinstance(item, tuple | list) and item:
        item = item[0]
    images = array_of(item)
    if images is None or images.ndim not in (3, 4) or 0 in images.shape:
        what = given(item) if images is None else f"{images.dtype} {list(images.shape)} was given"
        raise OptionError(
            f"item {place} of the iterable of images is no array [C, H, W] or [N, C, H, W]: {what}"
        )
    images = images if images.ndim == 4 else images[None]
    if images.dtype.kind == "f":
        images = images.astype(np.float32, copy=False)
        if not np.isfinite(images).all():
            raise DataError(f"item {place} of the iterable of images has NaN or infinity")
    elif images.dtype != np.uint8:
        raise OptionError(
            f"item {place} of the iterable of images is {images.dtype}: uint8 or float32 is needed"
        )
    return images

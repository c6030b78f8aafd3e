"""The images that a user gives, read and refused before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.errors import OptionError

if TYPE_CHECKING:
    from edgerep.data.samples import Images


def read_given(path: Path | None, wanted: GraphOptions, *, onnx: bool) -> Images | None:
    """Read the images to compare on at once, and hold them against what is known already.

    Args:
        path: Of the file; None where none was given.
        wanted: What the network is exported for.
        onnx: SOURCE is an ONNX file, which says itself what it takes.

    Raises:
        DataError: The file cannot be used.
        OptionError: The images are not of the size or type that the network is exported for.
    """
    if path is None:
        if "--max-images" in wanted.given:
            raise OptionError("--max-images is of --calibration, and there is none")
        return None
    from edgerep.data.samples import read_images

    images = read_images(path)
    if onnx:
        return images
    if wanted.image_size is None:
        raise OptionError(f"{path} has images, and the network takes something else: leave it out")
    _require_alike(images, path, wanted)
    return images


def read_labelled(evaluate: Path | None, wanted: GraphOptions) -> Images | None:
    """Read the labelled images at once: a mistake in them should not surface at the end."""
    if evaluate is None:
        return None
    from edgerep.data.samples import read_images

    images = read_images(evaluate)
    if images.labels is None:
        raise OptionError(f"{evaluate} has no array `labels`: accuracy needs one label an image")
    if wanted.image_size is None:
        raise OptionError("accuracy needs a network that takes one image [C, H, W]: set no "
                          "--evaluate, or one --input-shape")  # fmt: skip
    _require_alike(images, evaluate, wanted)
    return images


def _require_alike(images: Images, path: Path, wanted: GraphOptions) -> None:
    size = wanted.image_size
    if size is not None and images.pixels.shape[2:] != size:
        raise OptionError(
            f"{path} has images of {'x'.join(map(str, images.pixels.shape[2:]))} and the "
            f"network is exported for {'x'.join(map(str, size))}: set --size"
        )
    if str(images.pixels.dtype) != wanted.preprocessing.dtype:
        raise OptionError(
            f"{path} has {images.pixels.dtype} images and the network is exported for "
            f"{wanted.preprocessing.dtype}: set --input"
        )

"""The images that a user gives, read and refused before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.errors import OptionError

if TYPE_CHECKING:
    from edgerep.data.samples import Images


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
    if images.pixels.shape[2:] != wanted.image_size:
        raise OptionError(
            f"{evaluate} has images of {'x'.join(map(str, images.pixels.shape[2:]))} and the "
            f"network is exported for {'x'.join(map(str, wanted.image_size))}: set --size"
        )
    if str(images.pixels.dtype) != wanted.preprocessing.dtype:
        raise OptionError(
            f"{evaluate} has {images.pixels.dtype} images and the network is exported for "
            f"{wanted.preprocessing.dtype}: set --input"
        )
    return images

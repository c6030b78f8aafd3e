"""The images that a user gives, read and refused before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from edgerep.commands.shared.console import Console
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.errors import OptionError
from edgerep.export.precision.settings import CALIBRATED, require_enough

if TYPE_CHECKING:
    from edgerep.data.samples import ImageSource

_SHOWN = 4  # broken pictures that are named aloud


def read_given(
    path: Path | None,
    wanted: GraphOptions,
    console: Console,
    *,
    onnx: bool,
    precisions: Collection[str | None],
) -> ImageSource | None:
    """Read the images to compare on at once, and hold them against what is known already.

    Args:
        path: Of the file or folder; None where none was given.
        wanted: What the network is exported for.
        console: Told how many pictures are there, and which are broken.
        onnx: SOURCE is an ONNX file, which says itself what it takes.
        precisions: What is wanted; some are made from images.

    Raises:
        DataError: The file or folder cannot be used, or has too few images to make a precision of.
        OptionError: The images are not of the size or type that the network is exported for.
    """
    require_calibration(path, wanted.given)
    if path is None:
        return None
    images = read_aloud(path, wanted.fit, wanted.image_preset, console)
    for precision in CALIBRATED:
        if precision in precisions:
            require_enough(len(images), precision)
    if onnx:
        return images
    if wanted.image_size is None:
        raise OptionError(f"{path} has images, and the network takes something else: leave it out")
    _require_alike(images, path, wanted)
    return images


def read_labelled(
    evaluate: Path | None, wanted: GraphOptions, console: Console
) -> ImageSource | None:
    """Read the labelled images at once: a mistake in them should not surface at the end."""
    if evaluate is None:
        return None
    images = read_aloud(evaluate, wanted.fit, wanted.image_preset, console)
    if images.labels is None:
        raise OptionError(
            f"{evaluate} has pictures of no class: put those of each class into a folder of its "
            f"own, or give labels.txt, a path and a number a line"
            if evaluate.is_dir()
            else f"{evaluate} has no array `labels`: accuracy needs one label an image"
        )
    if wanted.image_size is None:
        raise OptionError("accuracy needs a network that takes one image [C, H, W]: set no "
                          "--evaluate, or one --input-shape")  # fmt: skip
    _require_alike(images, evaluate, wanted)
    return images


def require_calibration(path: Path | None, given: Collection[str]) -> None:
    """Refuse options of images where there are none.

    Raises:
        OptionError: There are.
    """
    if path is None and "--max-images" in given:
        raise OptionError("--max-images is of --calibration, and there is none")


def read_aloud(
    path: Path, fit: str, preset: str | None, console: Console, *, most: int | None = None
) -> ImageSource:
    """Read images as `read_images` does, and say what was found and what was skipped."""
    console.doing("images", f"reading {path}")
    from edgerep.data.pictures import Pictures
    from edgerep.data.samples import read_images

    images = read_images(
        path, fit=fit, preset=preset, most=most,
        watch=lambda done, count: console.doing("images", f"{done} of {count} pictures"),
    )  # fmt: skip
    if isinstance(images, Pictures):
        broken = images.content.broken
        console.progress("images", f"{path}: {len(images)} pictures, {fit}")
        if broken:
            more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
            console.progress("images", f"{len(broken)} broken, skipped: "
                             f"{', '.join(broken[:_SHOWN])}{more}")  # fmt: skip
    elif preset is not None:
        raise OptionError(
            f"--image-preset is of a folder of pictures, and {path} has arrays, which are given to "
            f"the network as they are"
        )
    return images


def _require_alike(images: ImageSource, path: Path, wanted: GraphOptions) -> None:
    from edgerep.data.samples import Images

    size = wanted.image_size
    if not isinstance(images, Images):
        images.require_known(wanted.preprocessing.dtype, wanted.preprocessing)
        return
    pixels = images.pixels
    if size is not None and pixels.shape[2:] != size:
        raise OptionError(
            f"{path} has images of {'x'.join(map(str, pixels.shape[2:]))} and the "
            f"network is exported for {'x'.join(map(str, size))}: set --size"
        )
    if str(pixels.dtype) != wanted.preprocessing.dtype:
        raise OptionError(
            f"{path} has {pixels.dtype} images and the network is exported for "
            f"{wanted.preprocessing.dtype}: set --input"
        )

"""One picture file as the pixels [C, H, W] that a network is given, decoded by Pillow.

Resizing is Pillow's bilinear filter, which is antialiased: torchvision's `Resize` and
`CenterCrop` of such pictures, to the pixel.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.errors import DataError, MissingDependencyError, first_line
from edgerep.outside.regular import MIB, require_regular

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
            ".pnm", ".pbm")  # fmt: skip
# Pillow's readers that are used: of the others some start programs, or read what is no picture.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
_MOST_BYTES = 512 * MIB  # of a file
_MOST_PIXELS = 100_000_000  # of a picture: some 400 MB while it is decoded
_LONGEST = 8  # times its shorter side that a picture is resized; of a longer one the middle
_BORDER = 114  # grey, of letterboxes, as YOLO's
# The shorter side of a picture over that of the cut: 256 to 224, as RepVGG's and torchvision's.
_CUT = 0.875


@dataclass(frozen=True, slots=True)
class Look:
    """How pictures are brought to a network's size.

    Attributes:
        height: Of what the network takes, in pixels.
        width: Likewise.
        channels: 1 for grey, 3 for red, green and blue.
        fit: "crop": the shorter side to `size / 0.875`, then the middle. "letterbox": the longer
            side to the size, grey borders. "stretch": both sides to the size. A picture that has
            the size is taken as it is.
    """

    height: int
    width: int
    channels: int
    fit: str = "crop"


def require_pillow() -> None:
    """Refuse to read pictures where Pillow is not installed; it is not loaded.

    Raises:
        MissingDependencyError: It is not.
    """
    if importlib.util.find_spec("PIL") is None:
        raise MissingDependencyError("PIL", "images")


def why_unreadable(path: Path) -> str | None:
    """Why a picture cannot be decoded, in a few words; None where it can."""
    try:
        with _opened(path) as image:
            image.load()
            if image.mode not in ("RGB", "L"):
                _eight_bits(image, "L")
    except DataError as error:
        return str(error)
    return None


def decode(path: Path, look: Look) -> Array:
    """The pixels of a picture, uint8 [C, H, W], upright as its EXIF data say.

    Transparency is dropped, not blended, and of an animation the first picture is taken: both as
    by torchvision's loader.

    Raises:
        DataError: It is no picture, damaged, or larger than any that is read.
    """
    with _opened(path) as image:
        upright = _upright(image)
        plain = _eight_bits(upright, "L" if look.channels == 1 else "RGB")
        pixels = np.asarray(_fitted(plain, look), np.uint8)
    rows = pixels.reshape(look.height, look.width, look.channels)
    return np.ascontiguousarray(rows.transpose(2, 0, 1))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Picture]:
    """A picture whose header fits; whatever goes wrong with it is a `DataError` in few words."""
    from PIL import Image, UnidentifiedImageError

    require_regular(path, DataError, most=_MOST_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF data, or that a picture is large
        try:
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
                if width * height > _MOST_PIXELS:
                    raise DataError(
                        f"{width}x{height} pixels, and at most {_MOST_PIXELS:,} are read"
                    )
                yield image
        except (DataError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            raise DataError("no picture of a kind that is read") from error
        except Image.DecompressionBombError as error:
            raise DataError(f"more pixels than the {_MOST_PIXELS:,} that are read") from error
        except Exception as error:  # damaged bytes: Pillow's readers have no error in common
            raise DataError(first_line(error)[:200]) from error


def _upright(image: Picture) -> Picture:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # of damaged EXIF data alone: the pixels come next
        return image


def _eight_bits(image: Picture, mode: str) -> Picture:
    """A picture of any kind in grey ("L") or colour ("RGB"), eight bits each."""
    from PIL import Image

    if image.mode == "F":
        raise DataError("floating-point pixels, whose range nobody knows")
    if image.mode.startswith("I"):  # 16 bits, which Pillow's own conversion would clip at 255
        wide = np.asarray(image).astype(np.int64)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
            raise DataError("pixels of 32 bits, whose range nobody knows")
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    return image.convert(mode)


def _fitted(image: Picture, look: Look) -> Picture:
    from PIL import Image

    size = (look.width, look.height)
    if image.size == size:
        return image
    bilinear = Image.Resampling.BILINEAR
    if look.fit == "stretch":
        return image.resize(size, bilinear)
    ratios = (look.width / image.width, look.height / image.height)
    if look.fit == "letterbox":
        ratio = min(ratios)
        inner = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
        ground = Image.new(image.mode, size, (_BORDER,) * len(image.getbands()))
        place = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
        ground.paste(image.resize(inner, bilinear), place)
        return ground
    return _cropped(image, look)


def _cropped(image: Picture, look: Look) -> Picture:
    from PIL import Image

    image = _not_too_long(image)
    wanted = (int(look.width / _CUT), int(look.height / _CUT))
    # The side that is short for what is wanted becomes exactly that, the other is rounded down.
    if wanted[0] * image.height >= wanted[1] * image.width:
        resized = (wanted[0], max(look.height, wanted[0] * image.height // image.width))
    else:
        resized = (max(look.width, wanted[1] * image.width // image.height), wanted[1])
    left, top = round((resized[0] - look.width) / 2), round((resized[1] - look.height) / 2)
    cut = image.resize(resized, Image.Resampling.BILINEAR)
    return cut.crop((left, top, left + look.width, top + look.height))


def _not_too_long(image: Picture) -> Picture:
    """The middle of a picture so long that it would be resized to billions of pixels."""
    most = _LONGEST * min(image.size)
    width, height = min(image.width, most), min(image.height, most)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))

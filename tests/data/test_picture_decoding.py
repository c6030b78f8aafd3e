"""One picture of any kind as the pixels that a network is given."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgerep.data.picture_decoding import Look, decode, why_unreadable
from edgerep.errors import DataError
from zoo.picture_files import colours

SAME = Look(40, 50, 3)
PIXELS = colours(40, 50)


def saved(tmp_path: Path, image: Image.Image, name: str = "a.png", **options: Any) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_a_picture_of_the_networks_size_is_taken_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS))
    for fit in ("crop", "letterbox", "stretch"):
        found = decode(path, Look(40, 50, 3, fit))
        assert found.dtype == np.uint8
        assert (found == PIXELS.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_upright(orientation: int, tmp_path: Path) -> None:
    """As the table of the EXIF standard says where row 0 and column 0 are."""
    rows = PIXELS
    stored = {
        1: rows, 2: rows[:, ::-1], 3: rows[::-1, ::-1], 4: rows[::-1],
        5: rows.transpose(1, 0, 2), 6: rows.transpose(1, 0, 2)[::-1],
        7: rows.transpose(1, 0, 2)[::-1, ::-1], 8: rows.transpose(1, 0, 2)[:, ::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert (decode(path, SAME) == PIXELS.transpose(2, 0, 1)).all()


def test_damaged_exif_data_do_not_spoil_the_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=b"Exif\0\0MM\0*\xff\xff\xff\xffrubbish")
    assert (decode(path, SAME) == PIXELS.transpose(2, 0, 1)).all()


def test_every_kind_of_pixel_becomes_what_the_network_takes(tmp_path: Path) -> None:
    grey = PIXELS[..., 0]
    wide = grey.astype(np.uint16) * 257
    kinds = {
        "L": Image.fromarray(grey),
        "LA": Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey)]),
        "I;16": Image.fromarray(wide),
    }
    for mode, image in kinds.items():
        path = saved(tmp_path, image, f"{mode.replace(';', '')}.png")
        assert (decode(path, Look(40, 50, 1))[0] == grey).all(), mode
        assert (decode(path, SAME) == grey).all(), mode
    big = Image.frombytes("I;16B", (50, 40), wide.astype(">u2").tobytes())
    assert (decode(saved(tmp_path, big, "big.tif"), Look(40, 50, 1))[0] == grey).all()
    few = Image.fromarray((PIXELS // 128) * 128).quantize(8)
    shown = np.asarray(few.convert("RGB"))
    assert (decode(saved(tmp_path, few, "P.png"), SAME) == shown.transpose(2, 0, 1)).all()
    clear = few.copy()
    assert (
        decode(saved(tmp_path, clear, "Pt.png", transparency=bytes(8)), SAME)
        == shown.transpose(2, 0, 1)
    ).all()
    alpha = np.dstack([PIXELS, grey])
    path = saved(tmp_path, Image.fromarray(alpha), "RGBA.png")
    assert (decode(path, SAME) == PIXELS.transpose(2, 0, 1)).all()
    ink = Image.fromarray(PIXELS).convert("CMYK")
    shown = np.asarray(ink.convert("RGB")).transpose(2, 0, 1)
    assert (decode(saved(tmp_path, ink, "CMYK.tif"), SAME) == shown).all()
    bits = Image.fromarray(grey > 128)
    assert set(np.unique(decode(saved(tmp_path, bits, "1.png"), SAME))) == {0, 255}


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (256, 256), (100, 1000), (31, 17)])
def test_the_middle_is_cut_out_of_what_was_resized_as_torchvision_does(
    size: tuple[int, int], tmp_path: Path
) -> None:
    """Written again from torchvision's documentation: `Resize(256)`, then `CenterCrop(224)`."""
    pixels = colours(*size)
    path = saved(tmp_path, Image.fromarray(pixels))
    height, width = size
    short = min(size)
    resized = (int(256 * width / short), int(256 * height / short))
    image = Image.fromarray(pixels)
    if max(size) > 8 * short:  # a strip: of it the middle
        image = image.crop(((width - 8 * short) // 2, 0, (width + 8 * short) // 2, height))
        resized = (256 * 8, 256)
    image = image.resize(resized, Image.Resampling.BILINEAR)
    left, top = (round((side - 224) / 2) for side in image.size)
    wanted = np.asarray(image.crop((left, top, left + 224, top + 224)))
    assert (decode(path, Look(224, 224, 3)) == wanted.transpose(2, 0, 1)).all()


def test_a_network_that_is_not_square_is_filled(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(colours(200, 100)))
    assert decode(path, Look(32, 96, 3)).shape == (3, 32, 96)


def test_a_letterbox_has_grey_borders_and_all_of_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (200, 100), (10, 20, 30)))
    found = decode(path, Look(64, 64, 3, "letterbox"))
    assert (found[:, :16] == 114).all()
    assert (found[:, -16:] == 114).all()
    assert (found[:, 16:48] == np.array([10, 20, 30])[:, None, None]).all()
    assert (decode(path, Look(64, 64, 3, "stretch"))[0] == 10).all()


def test_a_strip_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Resized as it is, its other side would have 51 million pixels."""
    path = saved(tmp_path, Image.new("L", (200_000, 1), 7))
    assert (decode(path, Look(224, 224, 1)) == 7).all()


def _png(width: int, height: int) -> bytes:
    """A PNG file whose header says this size, and whose pixels end early."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join((b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header),
                     chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")))  # fmt: skip


BROKEN = {
    "nothing": (b"", "no picture of a kind"),
    "text": (b"no picture at all", "no picture of a kind"),
    "a large one": (_png(12_000, 12_000), "12000x12000 pixels, and at most 100,000,000"),
    "a bomb": (_png(2_000_000, 2_000_000), "pixels"),
    "an early end": (_png(64, 64), "trunca"),
    "a program for printers": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused_in_few_words(name: str, tmp_path: Path) -> None:
    content, says = BROKEN[name]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    reason = why_unreadable(path)
    assert reason is not None
    assert says in reason.lower() or says in reason
    assert len(reason) < 200
    with pytest.raises(DataError):
        decode(path, SAME)


def test_a_picture_that_was_cut_short_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG")
    content = stream.getvalue()
    path = tmp_path / "a.jpg"
    for length in range(0, len(content) - 2, 97):
        path.write_bytes(content[:length])
        assert why_unreadable(path) is not None


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tif", "ppm"])
def test_a_damaged_picture_is_read_or_refused_and_nothing_else(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = saved(tmp_path, Image.fromarray(PIXELS), f"a.{suffix}")
    assert why_unreadable(path) is None
    content = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(content), 400), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        if why_unreadable(path) is None:
            assert decode(path, SAME).shape == (3, 40, 50)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/zero")
    assert "device" in str(why_unreadable(tmp_path / "a.png"))
    assert "No such file" in str(why_unreadable(tmp_path / "b.png"))


def test_numbers_without_a_known_range_are_refused(tmp_path: Path) -> None:
    for numbers in (np.zeros((4, 4), np.float32), np.full((4, 4), 1 << 20, np.int32)):
        path = saved(tmp_path, Image.fromarray(numbers), "a.tif")
        assert "range nobody knows" in str(why_unreadable(path))

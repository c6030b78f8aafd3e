"""Pictures as a network is given them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edgerep.artefacts.tensors import TensorSpec
from edgerep.data.pictures import FolderPixels, Pictures
from edgerep.data.preprocessing import NO_PREPROCESSING, PRESETS, Preprocessing
from edgerep.data.samples import read_images
from edgerep.errors import DataError, OptionError
from zoo.picture_files import colours, picture_folder

UINT8 = TensorSpec("image", "uint8", (None, 3, 40, 50))
FLOAT = TensorSpec("image", "float32", (None, 3, 40, 50))
IMAGENET = Preprocessing("float", *PRESETS["imagenet"])


def pictures(path: Path, **options: str) -> Pictures:
    found = read_images(path, **options)  # type: ignore[arg-type]
    assert isinstance(found, Pictures)
    return found


def test_a_network_gets_the_numbers_that_it_takes(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 5)
    raw = np.stack([colours(40, 50, seed) for seed in range(5)]).transpose(0, 3, 1, 2)
    pixels = pictures(folder).pixels_for(UINT8, Preprocessing("uint8", *PRESETS["imagenet"]))
    assert (pixels.shape, len(pixels)) == ((5, 3, 40, 50), 5)
    assert pixels.dtype == np.uint8
    assert (pixels[:] == raw).all()
    assert (pixels[np.array([4, 0, 4])] == raw[[4, 0, 4]]).all()
    assert (pixels[-2:] == raw[3:]).all()
    unit = pictures(folder).pixels_for(FLOAT, IMAGENET)
    np.testing.assert_allclose(unit[1:3], raw[1:3] / 255, rtol=1e-6)
    np.testing.assert_allclose(
        pictures(folder, preset="unit").pixels_for(FLOAT, NO_PREPROCESSING)[:], raw / 255, rtol=1e-6
    )
    np.testing.assert_allclose(
        pictures(folder, preset="imagenet").pixels_for(FLOAT, NO_PREPROCESSING)[:],
        IMAGENET.apply(raw / 255),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip
    assert unit[:0].shape == (0, 3, 40, 50)


def test_nobody_guesses_which_numbers_a_network_takes(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 1)
    with pytest.raises(DataError, match=r"--image-preset imagenet, or unit"):
        pictures(folder).pixels_for(FLOAT, NO_PREPROCESSING)
    with pytest.raises(OptionError, match="this one takes numbers from 0 to 1: leave it out"):
        pictures(folder, preset="imagenet").pixels_for(FLOAT, IMAGENET)
    with pytest.raises(OptionError, match="this one takes pixels"):
        pictures(folder, preset="clip").pixels_for(UINT8, NO_PREPROCESSING)
    for options in ({"fit": "squeeze"}, {"preset": "none"}):
        with pytest.raises(OptionError, match="is not one of"):
            read_images(folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [
    TensorSpec("x", "float32", (None, 4, 8, 8)), TensorSpec("x", "float32", (None, 16)),
    TensorSpec("x", "int64", (None, 3, 8, 8)),
])  # fmt: skip
def test_what_takes_no_pictures_is_refused(spec: TensorSpec, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 1)
    with pytest.raises(DataError, match="not a grey or colour image"):
        pictures(folder, preset="unit").pixels_for(spec, NO_PREPROCESSING)


def test_a_folder_need_not_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """48 MiB of pixels for the network, 4 at a time; as float32 they are 192."""
    monkeypatch.setattr("edgerep.data.pictures._KEPT_BYTES", 4 << 20)
    folder = picture_folder(tmp_path / "set", 16, (64, 64))
    spec = TensorSpec("image", "float32", (None, 3, 1024, 1024))
    pixels = pictures(folder, preset="imagenet").pixels_for(spec, NO_PREPROCESSING)
    assert isinstance(pixels, FolderPixels)
    total = np.float32(0)
    tracemalloc.start()
    try:
        for start in range(0, len(pixels), 2):
            total += pixels[start : start + 2].mean()
        assert tracemalloc.get_traced_memory()[1] < 120 << 20
    finally:
        tracemalloc.stop()
    assert np.isfinite(total)


def test_a_picture_that_breaks_later_is_named(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 2)
    pixels = pictures(folder).pixels_for(UINT8, NO_PREPROCESSING)
    (folder / "01.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"01\.png: no picture"):
        pixels[:]

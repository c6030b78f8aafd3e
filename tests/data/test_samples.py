"""Images and labels of the user, read from files of arrays, and whatever else they come from."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from safetensors.numpy import save_file

from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.data.pictures import Pictures
from edgerep.data.samples import (
    Images,
    as_images,
    few_images,
    first_images,
    images_for,
    read_images,
)
from edgerep.errors import DataError, OptionError
from zoo.picture_files import picture_folder

SPEC = TensorSpec("image", "uint8", (None, 3, 4, 5))
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 5), dtype=np.uint8)


def arrays(path: Path) -> Images:
    found = read_images(path)
    assert isinstance(found, Images)
    return found


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("labelled", [True, False])
def test_images_and_labels_come_back_as_they_were_saved(
    dtype: type, labelled: bool, save: Callable[..., None], tmp_path: Path
) -> None:
    images: Array = IMAGES.astype(dtype)
    labels = np.arange(20)
    if labelled:
        save(tmp_path / "a.npz", images=images, labels=labels)
    else:
        save(tmp_path / "a.npz", images=images)
    samples = arrays(tmp_path / "a.npz")
    assert samples.pixels.dtype == dtype
    assert (samples.pixels[:] == images).all()
    if labelled:
        assert samples.labels is not None
        assert (samples.labels == labels).all()
    else:
        assert samples.labels is None


def test_an_npy_file_is_the_images_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    samples = arrays(tmp_path / "a.npy")
    assert (samples.pixels[:] == IMAGES).all()
    assert samples.labels is None


@pytest.mark.parametrize(("images", "found"), [
    (IMAGES[0], r"uint8 \[3, 4, 5\]"),
    (IMAGES[:0], r"uint8 \[0, 3, 4, 5\]"),
    (IMAGES.astype(np.float64), "float64"),
    (IMAGES.astype(np.int64), "int64"),
])  # fmt: skip
def test_arrays_that_are_no_images_are_refused(
    images: np.ndarray, found: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", images)
    with pytest.raises(DataError, match=rf"a\.npy: images must be uint8 or float32.*{found}"):
        read_images(tmp_path / "a.npy")


@pytest.mark.parametrize(("labels", "found"), [
    (np.arange(19), r"int64 \[19\]"),
    (np.arange(20.0), r"float64 \[20\]"),
    (np.eye(20, dtype=int), r"int64 \[20, 20\]"),
    (np.array(3), r"int64 \[\]"),
    (np.zeros(20, bool), r"bool \[20\]"),
])  # fmt: skip
def test_labels_must_be_one_integer_per_image(
    labels: np.ndarray, found: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=labels)
    with pytest.raises(DataError, match=rf"labels must be 20 integers.*{found}"):
        read_images(tmp_path / "a.npz")


def test_an_archive_without_images_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.arange(20))
    with pytest.raises(DataError, match="no array `images`, only x, y"):
        read_images(tmp_path / "a.npz")


class Planted:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["npy", "npz", "pickle"])
def test_nothing_pickled_is_read(kind: str, tmp_path: Path) -> None:
    planted = Planted(tmp_path / "ran")
    array = np.empty(1, object)
    array[0] = planted
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, array, allow_pickle=True)
    elif kind == "npz":
        np.savez(path, images=array)
    else:
        path.write_bytes(pickle.dumps(planted))
    with pytest.raises(DataError, match=r"not an \.npz or \.npy file of plain arrays"):
        read_images(path)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_missing_empty_or_something_else(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npy").write_text("images")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("images", "no array")
    for name in ("missing.npz", "empty.npz", "text.npy", "zip.npz", "."):
        with pytest.raises(DataError):
            read_images(tmp_path / name)


def _saved(compressed: bool) -> bytes:
    stream = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(stream, images=IMAGES[:2], labels=np.arange(2))
    return stream.getvalue()


ARCHIVES = {compressed: _saved(compressed) for compressed in (True, False)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), compressed=st.booleans())
def test_a_damaged_archive_is_read_or_refused_and_nothing_else(
    data: st.DataObject, compressed: bool, tmp_path: Path
) -> None:
    content = bytearray(ARCHIVES[compressed])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert arrays(path).pixels[:].ndim == 4


def bomb(path: Path, images: int, method: int) -> Path:
    """Images of zeros, written without holding them; deflated, a thousandth of their size."""
    header = io.BytesIO()
    npy.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (images, 1, 1024, 1024)}
    )
    with (
        zipfile.ZipFile(path, "w", method) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(4):
            member.write(bytes(1 << 20))
    return path


def test_what_unpacks_to_more_than_a_gib_beyond_its_size_is_not_unpacked(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.npz", 3000, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"bomb\.npz.*3,145,728,000 bytes"):
            read_images(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()
    small = arrays(bomb(tmp_path / "small.npz", 4, zipfile.ZIP_DEFLATED))
    assert small.pixels.shape == (4, 1, 1024, 1024)
    with pytest.raises(DataError, match="cut short"):
        read_images(bomb(tmp_path / "short.npz", 5, zipfile.ZIP_DEFLATED))


HEADERS = {
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "fields": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
    "texts": "{'descr': '<U5', 'fortran_order': False, 'shape': (1,), }",
    "a negative size": "{'descr': '<f4', 'fortran_order': False, 'shape': (1, -3, 4, 4), }",
    "a huge size": "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }",
    "no shape": "{'descr': '<f4', 'fortran_order': False}",
    "a call": "{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').abort(), }",
    "deep brackets": "(" * 9000 + ")" * 900,
    "a shape of flags": "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 'x'), }",
    "a type that is none": "{'descr': 'zz9', 'fortran_order': False, 'shape': (1,), }",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_says_what_no_images_are_is_refused(name: str, tmp_path: Path) -> None:
    text = HEADERS[name].encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(4096)
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    for file in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match=file) as refusal:
            read_images(tmp_path / file)
        assert len(str(refusal.value)) < 1000


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zero.npy").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"zero\.npy, which is a device"):
        read_images(tmp_path / "zero.npy")


def test_images_with_nan_or_infinity_are_refused(tmp_path: Path) -> None:
    for wrong in (np.nan, np.inf):
        images = np.zeros((200, 1, 2, 2), np.float32)
        images[130, 0, 1, 1] = wrong
        np.save(tmp_path / "wrong.npy", images)
        with pytest.raises(DataError, match=r"wrong\.npy: one of images 128 to 191 has NaN"):
            read_images(tmp_path / "wrong.npy")


def test_safetensors_have_images_too(tmp_path: Path) -> None:
    floats = (IMAGES / 255).astype(np.float32)
    save_file({"images": floats, "labels": np.arange(20)}, tmp_path / "a.safetensors")
    found = arrays(tmp_path / "a.safetensors")
    assert (found.pixels[5:7] == floats[5:7]).all()
    assert found.labels is not None
    assert found.labels.tolist() == list(range(20))
    save_file({"stem.weight": floats}, tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match=r"no array `images`, only stem\.weight"):
        read_images(tmp_path / "weights.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    for wrong in (content[:100], b"", content[:-1], b"\xff" * 64):
        (tmp_path / "a.safetensors").write_bytes(wrong)
        with pytest.raises(DataError, match=r"a\.safetensors"):
            read_images(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_what_is_not_compressed_is_read_when_it_is_asked_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    images = np.zeros((64, 3, 256, 256), np.float32)  # 48 MiB
    images[:, 0, 0, 0] = np.arange(64)
    if kind == "npy":
        np.save(path, images)
    elif kind == "npz":
        np.savez(path, labels=np.arange(64), images=images)
    else:
        save_file({"images": images}, path)
    del images
    tracemalloc.start()
    try:
        pixels = first_images(arrays(path).pixels, 50)
        assert [pixels[i : i + 1][0, 0, 0, 0] for i in (0, 49)] == [0, 49]
        assert pixels[np.array([3, 2])][:, 0, 0, 0].tolist() == [3, 2]
        assert tracemalloc.get_traced_memory()[0] < 1 << 20  # of 64 images a chunk, at its peak
    finally:
        tracemalloc.stop()
    assert pixels.shape == (50, 3, 256, 256)
    assert len(pixels[60:]) == 0


def test_arrays_of_another_order_of_bytes_or_of_columns_are_read(tmp_path: Path) -> None:
    floats = (IMAGES / 255).astype(np.float32)
    for name, turned in (("big", floats.astype(">f4")), ("columns", np.asfortranarray(floats))):
        np.save(tmp_path / f"{name}.npy", turned)
        pixels = arrays(tmp_path / f"{name}.npy").pixels
        assert pixels.dtype == np.float32
        assert (pixels[3:] == floats[3:]).all()


def test_a_wrong_checksum_is_noticed_where_nothing_is_unpacked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz.*CRC"):
        read_images(tmp_path / "a.npz")


def test_images_are_taken_from_whatever_holds_them(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    for images in (tmp_path / "a.npy", str(tmp_path / "a.npy"), IMAGES, list(IMAGES), iter(IMAGES),
                  torch.from_numpy(IMAGES), read_images(tmp_path / "a.npy")):  # fmt: skip
        assert (images_for(images, SPEC)[:] == IMAGES).all()
    assert images_for(IMAGES[0], SPEC).shape == (1, 3, 4, 5)
    folder = picture_folder(tmp_path / "set", 2, (4, 5))
    for images in (folder, str(folder), read_images(folder)):
        assert images_for(images, SPEC).shape == (2, 3, 4, 5)
    assert isinstance(as_images(folder), Pictures)


@pytest.mark.parametrize(("images", "says"), [
    (3, r"is a path, an array .* an int was given \(3\)"), ({"a": IMAGES}, "a dict was given"),
    (IMAGES[:0], r"has no image: its shape is \[0, 3, 4, 5\]"), (IMAGES[0, 0, 0], "no image"),
    (b"a.npy", "a bytes was given"), (None, "a NoneType was given"),
])  # fmt: skip
def test_what_holds_none_is_refused(images: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        as_images(images)


def test_what_is_no_image_is_taken_in_the_shape_of_the_input() -> None:
    tokens = np.random.default_rng(0).standard_normal((6, 7, 4)).astype(np.float32)
    spec = TensorSpec("tokens", "float32", (None, 7, 4))
    assert (images_for(tokens, spec)[:] == tokens).all()
    assert images_for(tokens[0], spec).shape == (1, 7, 4)
    vectors = images_for(tokens[:, 0], TensorSpec("x", "float32", (None, 4)))
    assert vectors.shape == (6, 4)
    with pytest.raises(DataError, match=r"float32 \[6, 4\], and the model takes float32 \[7, 4\]$"):
        images_for(tokens[:, 0], spec)


def test_images_that_do_not_fit_are_refused_whatever_they_come_from(tmp_path: Path) -> None:
    for images in (IMAGES[..., 1:], [IMAGES.astype(np.float32)]):
        with pytest.raises(DataError, match="the images given are"):
            images_for(images, SPEC)


def test_one_picture_is_no_folder(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 1)
    with pytest.raises(DataError, match="is one picture: give the folder"):
        read_images(folder / "00.png")
    with pytest.raises(OptionError, match="most 0: at least 1"):
        read_images(folder, most=0)


def test_few_images_are_remarked_on() -> None:
    assert few_images(64) is None
    assert str(few_images(63)).startswith("63 images for calibration are few")


def test_an_array_with_nan_is_refused_as_a_file_is() -> None:
    images = np.zeros((130, 1, 2, 2), np.float32)
    images[129, 0, 1, 1] = np.inf
    with pytest.raises(DataError, match=r"`calibration`: one of images 128 to 129 has NaN"):
        as_images(images)

"""Images and labels of the user, read from .npz and .npy files."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from edgerep.artefacts.tensors import Array
from edgerep.data.samples import read_images
from edgerep.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 5), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("labelled", [True, False])
def test_images_and_labels_come_back_as_they_were_saved(
    dtype: type, labelled: bool, tmp_path: Path
) -> None:
    images: Array = IMAGES.astype(dtype)
    labels = np.arange(20)
    if labelled:
        np.savez_compressed(tmp_path / "a.npz", images=images, labels=labels)
    else:
        np.savez_compressed(tmp_path / "a.npz", images=images)
    samples = read_images(tmp_path / "a.npz")
    assert samples.pixels.dtype == dtype
    assert (samples.pixels == images).all()
    if labelled:
        assert samples.labels is not None
        assert (samples.labels == labels).all()
    else:
        assert samples.labels is None


def test_an_npy_file_is_the_images_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    samples = read_images(tmp_path / "a.npy")
    assert (samples.pixels == IMAGES).all()
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
        assert read_images(path).pixels.ndim == 4


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
    small = read_images(bomb(tmp_path / "small.npz", 4, zipfile.ZIP_DEFLATED))
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

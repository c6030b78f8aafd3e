"""The samples of a comparison, and the files that users bring images in."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.bench.parity.probes import CALIBRATION_IMAGES, RANDOM_SAMPLES, make_probes
from edgerep.data.samples import read_samples, require_fitting
from edgerep.errors import DataError

IMAGE = TensorSpec("image", "float32", (None, 3, 4, 5))
PIXELS = TensorSpec("image", "uint8", (None, 3, 4, 5))
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 5), dtype=np.uint8)

specs = st.builds(
    TensorSpec,
    st.just("x"),
    st.sampled_from(["float32", "float16", "uint8", "int8", "int32", "int64"]),
    st.lists(st.integers(1, 5), max_size=4).map(lambda shape: (None, *shape)),
)


@given(st.lists(specs, min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_probes_are_finite_typed_and_the_same_for_the_same_seed(
    wanted: list[TensorSpec], seed: int
) -> None:
    probes = make_probes(wanted, seed=seed)
    count = RANDOM_SAMPLES + 6 * len(wanted)
    assert probes.describe() == {"random": RANDOM_SAMPLES, "edge": 6 * len(wanted)}
    for spec, array, again in zip(
        wanted, probes.inputs, make_probes(wanted, seed=seed).inputs, strict=True
    ):
        assert array.shape == (count, *spec.shape[1:])
        assert array.dtype == np.dtype(spec.dtype)
        assert np.isfinite(array).all()
        assert array.tobytes() == again.tobytes()


def test_another_seed_draws_other_random_samples_and_the_same_edge_cases() -> None:
    (one,), (two,) = (make_probes([IMAGE], seed=seed).inputs for seed in (0, 1))
    assert (one[:RANDOM_SAMPLES] != two[:RANDOM_SAMPLES]).mean() > 0.99
    assert (one[RANDOM_SAMPLES:] == two[RANDOM_SAMPLES:]).all()


def test_edge_cases_of_an_image() -> None:
    (array,) = make_probes([PIXELS]).inputs
    low, high, first, last, board, ramp = array[RANDOM_SAMPLES:]
    assert not low.any()
    assert (high == 255).all()
    assert [tuple(place) for place in np.argwhere(first[0])] == [(0, 0)]
    assert [tuple(place) for place in np.argwhere(last[0])] == [(3, 4)]
    assert board[0, :2, :3].tolist() == [[0, 255, 0], [255, 0, 255]]
    assert (np.diff(ramp.astype(int), axis=1) > 0).all()
    assert (np.diff(ramp.astype(int), axis=2) > 0).all()
    assert len(np.unique(array, axis=0)) == len(array)


def test_the_first_images_of_the_user_come_last_and_untouched() -> None:
    probes = make_probes([PIXELS], IMAGES)
    assert probes.describe()["calibration"] == CALIBRATION_IMAGES
    assert (probes.inputs[0][-CALIBRATION_IMAGES:] == IMAGES[:CALIBRATION_IMAGES]).all()
    assert len(probes.kinds) == len(probes.inputs[0])


@pytest.mark.parametrize("images", [
    IMAGES.astype(np.float32), IMAGES[:, :1], IMAGES[..., :3], IMAGES[0],
])  # fmt: skip
def test_images_that_do_not_fit_are_refused_with_both_shapes(images: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"takes uint8 \[3, 4, 5\]"):
        require_fitting(images, PIXELS)
    with pytest.raises(DataError, match=rf"given are {images.dtype}"):
        make_probes([PIXELS], images)


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
    samples = read_samples(tmp_path / "a.npz")
    assert samples.images.dtype == dtype
    assert (samples.images == images).all()
    if labelled:
        assert samples.labels is not None
        assert (samples.labels == labels).all()
    else:
        assert samples.labels is None


def test_an_npy_file_is_the_images_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    samples = read_samples(tmp_path / "a.npy")
    assert (samples.images == IMAGES).all()
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
        read_samples(tmp_path / "a.npy")


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
        read_samples(tmp_path / "a.npz")


def test_an_archive_without_images_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.arange(20))
    with pytest.raises(DataError, match="no array `images`, only x, y"):
        read_samples(tmp_path / "a.npz")


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
        read_samples(path)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_missing_empty_or_something_else(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npy").write_text("images")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("images", "no array")
    for name in ("missing.npz", "empty.npz", "text.npy", "zip.npz", "."):
        with pytest.raises(DataError):
            read_samples(tmp_path / name)


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
        assert read_samples(path).images.ndim == 4

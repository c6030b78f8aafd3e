"""Random samples and edge cases, for every input of an artefact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerep.artefacts.tensors import TensorSpec
from edgerep.data.probes import RANDOM_SAMPLES, RANDOM_SAMPLES_ALONE, make_probes
from edgerep.data.samples import require_fitting
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


@settings(max_examples=30, deadline=None)  # drawing takes what the machine has left
@given(st.lists(specs, min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_probes_are_finite_typed_and_the_same_for_the_same_seed(
    wanted: list[TensorSpec], seed: int
) -> None:
    probes = make_probes(wanted, seed=seed)
    found = probes.describe()
    assert found["edge"] == 6 * len(wanted)
    assert found["random"] == (RANDOM_SAMPLES if "picture" in found else RANDOM_SAMPLES_ALONE)
    count = sum(found.values())
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
    edges = slice(RANDOM_SAMPLES, RANDOM_SAMPLES + 6)
    assert (one[edges] == two[edges]).all()


def test_edge_cases_of_an_image() -> None:
    (array,) = make_probes([PIXELS]).inputs
    low, high, first, last, board, ramp = array[RANDOM_SAMPLES : RANDOM_SAMPLES + 6]
    assert not low.any()
    assert (high == 255).all()
    assert [tuple(place) for place in np.argwhere(first[0])] == [(0, 0)]
    assert [tuple(place) for place in np.argwhere(last[0])] == [(3, 4)]
    assert board[0, :2, :3].tolist() == [[0, 255, 0], [255, 0, 255]]
    assert (np.diff(ramp.astype(int), axis=1) > 0).all()
    assert (np.diff(ramp.astype(int), axis=2) > 0).all()
    assert len(np.unique(array, axis=0)) == len(array)


@pytest.mark.parametrize(("size", "count"), [(224, 8), (96, 21), (32, 54), (8, 54)])
def test_there_are_more_pictures_the_smaller_they_are(size: int, count: int) -> None:
    assert make_probes([PIXELS, replace(IMAGE, shape=(None, 3, size, size))]).describe() == {
        "random": 4, "edge": 12, "picture": min(count, 54),
    }  # fmt: skip


def test_pictures_of_pixels_have_the_whole_range_and_those_of_numbers_two() -> None:
    (pixels,) = make_probes([replace(PIXELS, shape=(None, 3, 32, 32))]).inputs
    pictures = pixels[RANDOM_SAMPLES + 6 :]
    assert pictures.min() == 0
    assert pictures.max() == 255
    (numbers,) = make_probes([replace(IMAGE, shape=(None, 3, 32, 32))]).inputs
    pictures = numbers[RANDOM_SAMPLES + 6 :]
    assert (pictures[::2].min(), pictures[::2].max()) == (0, 1)
    assert -2.1 <= pictures[1::2].min() < -2 < 2 < pictures[1::2].max() < 2.7
    assert (pictures.reshape(len(pictures), -1).std(1) > 0).all()


def test_all_images_of_the_user_come_last_and_untouched() -> None:
    probes = make_probes([PIXELS], IMAGES)
    assert probes.describe()["calibration"] == probes.given == len(IMAGES)
    made = len(probes.kinds)
    assert len(probes) == made + len(IMAGES)
    (whole,) = probes.block(0, len(probes))
    assert (whole[made:] == IMAGES).all()
    for start in range(0, len(probes), 7):
        assert (probes.block(start, start + 7)[0] == whole[start : start + 7]).all()


def test_of_a_limited_number_the_first_images_are_taken() -> None:
    probes = make_probes([PIXELS], IMAGES, max_images=3)
    assert probes.describe()["calibration"] == 3
    assert probes.given == len(IMAGES)
    (own,) = probes.block(len(probes.kinds), len(probes))
    assert (own == IMAGES[:3]).all()


@pytest.mark.parametrize("images", [
    IMAGES.astype(np.float32), IMAGES[:, :1], IMAGES[..., :3], IMAGES[0],
])  # fmt: skip
def test_images_that_do_not_fit_are_refused_with_both_shapes(images: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"takes uint8 \[3, 4, 5\]"):
        require_fitting(images, PIXELS)
    with pytest.raises(DataError, match=rf"given are {images.dtype}"):
        make_probes([PIXELS], images)

"""The images are the same every time, every class is there, and all look different."""

from __future__ import annotations

import numpy as np

from int8.shapes import CLASSES, SIZE, draw_shapes, standardised


def test_a_seed_gives_the_same_images_and_a_longer_run_begins_with_them() -> None:
    few, more = draw_shapes(40, seed=5), draw_shapes(60, seed=5)
    assert few.images.shape == (40, 3, SIZE, SIZE)
    np.testing.assert_array_equal(few.images, more.images[:40])
    np.testing.assert_array_equal(few.labels, more.labels[:40])
    assert not np.array_equal(few.images, draw_shapes(40, seed=6).images)


def test_classes_come_in_equal_numbers_and_pixels_are_spread() -> None:
    drawn = draw_shapes(500, seed=7)
    assert CLASSES >= 16
    assert set(np.bincount(drawn.labels, minlength=CLASSES)) == {500 // CLASSES}
    pixels = standardised(drawn.images)
    assert abs(float(pixels.mean())) < 0.1
    assert abs(float(pixels.std()) - 1) < 0.1
    assert np.unique(drawn.images.reshape(500, -1), axis=0).shape[0] == 500

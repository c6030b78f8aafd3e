"""Where images lie in a tensor of a network: along any axis, counted with tokens or alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.quantised.image_places import FIRST, image_places

_FORMS: dict[str, Callable[[Array], Array]] = {
    "first": lambda x: x,
    "tokens before images": lambda x: x.transpose(1, 0, 2),
    "tokens counted with images": lambda x: x.transpose(1, 0, 2).reshape(-1, x.shape[2]),
    "windows counted with images": lambda x: x.reshape(-1, x.shape[2]),
    "channels before images": lambda x: x.transpose(2, 0, 1),
}


@pytest.mark.parametrize("form", _FORMS.values(), ids=_FORMS)
def test_images_are_found_and_taken(form: Callable[[Array], Array]) -> None:
    images = np.random.default_rng(0).integers(-128, 128, (4, 8, 6))
    batch = form(images)
    places = image_places(batch, form(images[:1]), 4)
    for which in ([0], [2], [1, 3], [0, 1, 2, 3]):
        assert np.array_equal(places.of(batch, np.array(which), 4), form(images[which]))


def test_what_is_the_same_for_all_images_stays_whole() -> None:
    fixed = np.arange(6).reshape(3, 2)
    assert np.array_equal(image_places(fixed, fixed, 4).of(fixed, np.array([2]), 4), fixed)
    assert image_places(fixed, fixed, 4) == FIRST

"""Images out of any iterable."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgerep.artefacts.tensors import Array
from edgerep.data.spooling import spool
from edgerep.errors import DataError, OptionError, OutputError

IMAGES = np.random.default_rng(0).standard_normal((10, 3, 4, 5)).astype(np.float32)


def one_by_one() -> Iterator[Array]:
    yield from IMAGES


ITERABLES: dict[str, Callable[[], Iterable[Any]]] = {
    "single images": lambda: list(IMAGES),
    "a generator": one_by_one,
    "batches": lambda: [IMAGES[:4], IMAGES[4:8], IMAGES[8:]],
    "tensors": lambda: [torch.from_numpy(image).requires_grad_() for image in IMAGES],
    "pairs with labels": lambda: [(IMAGES[:5], np.arange(5)), [IMAGES[5:], np.arange(5)]],
    "doubles": lambda: IMAGES.astype(np.float64),
    "turned ones": lambda: [image.T.copy().T for image in IMAGES],
}


@pytest.mark.parametrize("name", ITERABLES)
def test_images_come_back(name: str) -> None:
    found = spool(ITERABLES[name]())
    assert found.shape == IMAGES.shape
    assert found.dtype == np.float32
    assert (found[:] == IMAGES).all()
    assert (found[np.array([9, 2, 3, 0])] == IMAGES[[9, 2, 3, 0]]).all()
    assert (found[::-3] == IMAGES[::-3]).all()


def test_pixels_stay_pixels() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(1, 3, 4, 4)
    assert spool([pixels, pixels])[:].dtype == np.uint8


def test_the_file_is_gone_with_its_last_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    found = spool(one_by_one())
    assert not list(tmp_path.iterdir())
    assert (found[3:4] == IMAGES[3:4]).all()
    del found
    gc.collect()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("items", "error", "says"), [
    ([], DataError, "gives no image"),
    ([1, 2], OptionError, r"item 0 of the iterable .* an int was given \(1\)"),
    ([np.zeros((3, 4))], OptionError, r"float64 \[3, 4\] was given"),
    ([np.zeros((3, 4, 4), int)], OptionError, "is int64: uint8 or float32"),
    ([IMAGES[0], IMAGES[0, :, :3]], OptionError, r"item 0 .*\[3, 4, 5\], .*1 .*\[3, 3, 5\]"),
    ([IMAGES[0], np.zeros((3, 4, 5), np.uint8)], OptionError, "item 1 uint8"),
    ([IMAGES[0], IMAGES[1] * np.nan], DataError, "item 1 .* has NaN"),
    ("abc", OptionError, "a str was given"),
])  # fmt: skip
def test_what_is_no_image_is_refused(items: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        spool(items)  # type: ignore[arg-type]


def test_an_endless_generator_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgerep.data.spooling._MOST_IMAGES", 100)
    with pytest.raises(DataError, match="more than 100 images"):
        spool(IMAGES[0] for _ in iter(int, 1))


def test_a_full_disk_is_said_before_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgerep.data.spooling._LEFT_FREE", 1 << 60)
    with pytest.raises(OutputError, match=r"hardly any room is left\. Set TMPDIR"):
        spool(one_by_one())


def test_what_a_generator_raises_is_not_hidden() -> None:
    def failing() -> Iterator[Array]:
        yield IMAGES[0]
        raise BrokenPipeError("of the user's own")

    with pytest.raises(BrokenPipeError, match="own"):
        spool(failing())

"""A folder of pictures: what is found, what is skipped, and the labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgerep.data.picture_folder import labels_of, read_folder
from edgerep.errors import DataError, MissingDependencyError
from zoo.picture_files import picture_folder


def test_pictures_are_found_in_the_order_of_their_paths(tmp_path: Path) -> None:
    picture_folder(tmp_path / "b", 3, (4, 4))
    picture_folder(tmp_path / "a" / "deep", 2, (4, 4))
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.png").touch()
    (tmp_path / "b" / "00.png").rename(tmp_path / "b" / "Z.PNG")
    found = read_folder(tmp_path)
    names = [str(path.relative_to(tmp_path)) for path in found.files]
    assert names == ["a/deep/00.png", "a/deep/01.png", "b/01.png", "b/02.png", "b/Z.PNG"]
    assert found.there == 5
    assert not found.broken


def test_links_are_followed_and_never_round_in_circles(tmp_path: Path) -> None:
    picture_folder(tmp_path / "real", 2, (4, 4))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "one.png").symlink_to(tmp_path / "real" / "01.png")
    (tmp_path / "set" / "all").symlink_to(tmp_path / "real")
    (tmp_path / "set" / "round").symlink_to(tmp_path / "set")
    assert len(read_folder(tmp_path / "set").files) == 3


def test_one_broken_picture_in_ten_is_named_and_skipped(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 9, (4, 4))
    (folder / "05x.jpg").write_bytes(b"cut")
    seen: list[tuple[int, int]] = []
    found = read_folder(folder, watch=lambda done, count: seen.append((done, count)))
    assert len(found.files) == found.there == 9
    assert found.broken == ("05x.jpg (no picture of a kind that is read)",)
    assert seen[-1] == (10, 10)


def test_a_link_that_leads_nowhere_is_named_whatever_its_name(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 20, (4, 4))
    (folder / "class_b").symlink_to(tmp_path / "unmounted")
    (folder / ".hidden").symlink_to(tmp_path / "unmounted")
    found = read_folder(folder)
    assert len(found.files) == 20
    assert found.broken == ("class_b (a link that leads nowhere)",)
    (folder / "class_c.png").symlink_to(tmp_path / "unmounted")
    assert len(read_folder(folder).broken) == 2


def test_more_are_refused_by_name(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 18, (4, 4))
    os.mkfifo(folder / "pipe.png")
    for name in ("a.jpg", "b.webp"):
        (folder / name).touch()
    with pytest.raises(DataError, match=r"3 of 21 pictures are broken.*a\.jpg \(no.*pipe\.png"):
        read_folder(folder)


def test_so_many_as_are_wanted_are_looked_at(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 4, (4, 4))
    (folder / "zz.png").touch()
    found = read_folder(folder, most=3)
    assert [path.name for path in found.files] == ["00.png", "01.png", "02.png"]
    assert found.there == 5
    assert not found.broken


def test_a_folder_without_pictures_says_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    with pytest.raises(DataError, match=r"no picture \(\.jpg.*one file of arrays"):
        read_folder(tmp_path)


@pytest.mark.parametrize(("classes", "wanted"), [
    (("cat", "ant", "dog"), [0, 1, 2]),
    (("2", "10", "0"), [0, 10, 2]),  # in the order of the paths: 0, 10, 2
])  # fmt: skip
def test_folders_are_classes(classes: tuple[str, ...], wanted: list[int], tmp_path: Path) -> None:
    for name in classes:
        picture_folder(tmp_path / name, 2, (4, 4))
    labels = labels_of(read_folder(tmp_path))
    assert labels is not None
    assert labels.tolist() == np.repeat(wanted, 2).tolist()


def test_a_class_without_pictures_counts(tmp_path: Path) -> None:
    for name in ("a", "c"):
        picture_folder(tmp_path / name, 1, (4, 4))
    (tmp_path / "b").mkdir()
    labels = labels_of(read_folder(tmp_path))
    assert labels is not None
    assert labels.tolist() == [0, 2]


def test_a_flat_folder_has_no_labels_or_a_list_of_them(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 3, (4, 4))
    assert labels_of(read_folder(folder)) is None
    (folder / "labels.txt").write_text("02.png 7\n00.png,1\n\n./01.png\t3\nother.png 9\n")
    labels = labels_of(read_folder(folder))
    assert labels is not None
    assert labels.tolist() == [1, 3, 7]


@pytest.mark.parametrize(("text", "says"), [
    ("00.png 1\n", "no label for 2 of 3 pictures, 01.png for example"),
    ("00.png cat\n", "line 1: '00.png cat' is not the path"),
    ("tench\n", "line 1"),
    ("00.png -1\n", "line 1"),
])  # fmt: skip
def test_a_list_that_does_not_fit_is_refused(text: str, says: str, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "set", 3, (4, 4))
    (folder / "labels.txt").write_text(text)
    with pytest.raises(DataError, match=says):
        labels_of(read_folder(folder))


def test_pillow_is_asked_for_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = picture_folder(tmp_path / "set", 1, (4, 4))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgerep\[images\]'"):
        read_folder(folder)

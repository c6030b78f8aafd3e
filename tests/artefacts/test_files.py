"""Files are written whole or not at all, and records know their artefact."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import FrameType

import pytest

from edgerep.artefacts.batches import batch_profile
from edgerep.artefacts.files import replacing, sha256_of
from edgerep.artefacts.records import Record, read_record, record_path, write_record
from edgerep.errors import EdgerepError, OptionError, OutputError


def break_off(path: Path, error: type[BaseException], *, folder: bool = False) -> None:
    """Write half of something, then fail."""
    with replacing(path, folder=folder) as partial:
        if folder:
            partial.mkdir()
        else:
            partial.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_mid_write_keeps_the_previous_file(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_text("previous")
    with pytest.raises(error):
        break_off(path, error)
    assert path.read_text() == "previous"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_write_replaces_the_file_and_makes_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    for text in ("one", "two"):
        with replacing(path) as partial:
            partial.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_folders_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mlpackage"
    for name in ("one", "two"):
        with replacing(path, folder=True) as partial:
            partial.mkdir()
            (partial / name).touch()
    assert [file.name for file in path.iterdir()] == ["two"]
    with pytest.raises(KeyboardInterrupt):
        break_off(path, KeyboardInterrupt, folder=True)
    assert [file.name for file in path.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [path]


def interrupted_after(calls: int, path: Path, *, folder: bool) -> bool:
    """Replace `path` with Ctrl-C after so many calls; whether it came to that.

    Python looks for signals where a function of its own begins and where one of C's has ended.
    """

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        if frame is here or event not in ("call", "c_return", "c_exception"):
            return
        calls -= 1
        if calls < 0:
            raise KeyboardInterrupt

    def replace() -> None:
        with replacing(path, folder=folder) as partial:
            if folder:
                partial.mkdir()
                partial /= "new"
            partial.write_text("new")

    here = sys._getframe()
    try:
        sys.setprofile(profile)
        replace()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


# What a file or folder that was being opened says when it goes.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("folder", [False, True])
def test_ctrl_c_between_any_two_calls_loses_nothing_and_leaves_nothing(
    folder: bool, tmp_path: Path
) -> None:
    path = tmp_path / "artefact"
    calls = 0
    while True:
        if folder:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            (path / "old").write_text("old")
        else:
            path.write_text("old")
        if not interrupted_after(calls, path, folder=folder):
            break
        assert [found.name for found in tmp_path.iterdir()] == [path.name], calls
        content = next(path.iterdir()) if folder else path
        assert content.read_text() in ("old", "new"), calls
        calls += 1
    assert calls > 50  # it was interrupted at that many places


def test_bad_places_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="is a folder"), replacing(tmp_path):
        raise AssertionError("the block must not be entered")
    with pytest.raises(OptionError, match="is a file"), replacing(tmp_path / "file", folder=True):
        raise AssertionError("the block must not be entered")
    with pytest.raises(OutputError, match="cannot create"), replacing(tmp_path / "file" / "a"):
        raise AssertionError("the block must not be entered")


def test_a_record_is_read_back_and_belongs_to_one_file(tmp_path: Path) -> None:
    artefact = tmp_path / "a.onnx"
    artefact.write_text("content")
    assert read_record(artefact) is None
    record = Record("onnx", sha256_of(artefact), ({"kind": "x"},), {"a": "1"}, {}, {})
    write_record(artefact, record)
    assert read_record(artefact) == record
    artefact.write_text("changed")
    with pytest.raises(EdgerepError, match="describes another file"):
        read_record(artefact)
    for text, says in (("{", "not a record"), ('{"schema": 99}', "schema 99"), ("[]", "record")):
        record_path(artefact).write_text(text)
        with pytest.raises(EdgerepError, match=says):
            read_record(artefact)


def test_a_folders_hash_depends_on_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = sha256_of(tmp_path)
    (tmp_path / "a" / "x").write_text("2")
    second = sha256_of(tmp_path)
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert len({first, second, sha256_of(tmp_path)}) == 3


def test_batches_are_read_from_every_spelling() -> None:
    assert batch_profile(8) == batch_profile("8") == batch_profile([8])
    assert batch_profile("1:8:32").sizes == batch_profile((1, 8, 32)).sizes == (1, 8, 32)
    assert batch_profile("2:2:2").is_static
    for wrong in ("0", "8:1:2", "a", "1:2", (1, 2), "1:2:3:4", ""):
        with pytest.raises(OptionError, match="batch"):
            batch_profile(wrong)

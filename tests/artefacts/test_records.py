"""An artefact and its record agree at every instant, also where the writer is killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.records import (
    Record,
    add_parity,
    read_record,
    record_path,
    write_and_certify,
    write_record,
)
from edgerep.errors import EdgerepError

# What Python tells an audit hook of: every step that another process could see.
_STEPS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "ctypes.dlsym", "shutil.rmtree")


def make(path: Path, text: str, *, folder: bool) -> None:
    """Write an artefact of that text, and its record."""

    def write(partial: Path) -> None:
        if folder:
            partial.mkdir()
            (partial / "inner").write_text(text)
        else:
            partial.write_text(text)

    write_and_certify(
        path,
        write=write,
        describe=sha256_of,
        record=lambda digest: Record("onnx", digest, (), {}, {"text": text}, {}),
        folder=folder,
    )


def text_of(path: Path) -> str:
    return (path / "inner" if path.is_dir() else path).read_text()


def killed_at_step(count: int, path: Path, text: str, *, folder: bool) -> bool:
    """Write in a process that is killed as it begins its step `count`; whether it came to that."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    left = count

    def count_steps(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _STEPS:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(count_steps)
        make(path, text, folder=folder)
        code = 0
    finally:
        os._exit(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # other tests' threads
@pytest.mark.parametrize(
    ("folder", "before"),
    [
        (False, "with its record"),
        (True, "with its record"),
        (False, "without a record"),
        (True, "nothing"),
    ],
)
def test_a_writer_that_is_killed_leaves_an_artefact_and_its_own_record(
    folder: bool, before: str, tmp_path: Path
) -> None:
    step = 0
    found = set()
    while True:
        place = tmp_path / str(step)
        place.mkdir()
        path = place / "artefact"
        if before != "nothing":
            make(path, "old", folder=folder)
        if before == "without a record":
            record_path(path).unlink()
        killed = killed_at_step(step, path, "new", folder=folder)
        if path.exists():
            record = read_record(path)  # which refuses one of another file
            text = text_of(path)
            found.add(text)
            assert record is not None or (text, before) == ("old", "without a record"), step
            assert record is None or record.options == {"text": text}, step
            add_parity(path, {"passed": True})  # which writes what is valid now
            again = read_record(path)
            assert again is None or (again.parity, again.replaces) == ({"passed": True}, None)
        else:
            assert before == "nothing", step
        if not killed:
            break
        step += 1
    assert step > 8
    assert found == ({"new"} if before == "nothing" else {"old", "new"})


def test_an_artefact_that_cannot_be_described_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "artefact"
    make(path, "old", folder=False)
    record = read_record(path)

    def refuse(partial: Path) -> str:
        raise EdgerepError(f"{partial.name} is bad")

    def never(described: str) -> Record:
        raise AssertionError("nothing was described")

    with pytest.raises(EdgerepError, match="artefact is bad"):
        write_and_certify(path, lambda partial: partial.write_text("new"), refuse, never)
    assert path.read_text() == "old"
    assert read_record(path) == record


def test_a_record_that_cannot_be_written_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "artefact"
    path.write_text("old")
    record_path(path).mkdir()  # where the record should go
    with pytest.raises(EdgerepError):
        make(path, "new", folder=False)
    assert path.read_text() == "old"


def test_a_finished_record_does_not_speak_of_what_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "artefact"
    for text in ("old", "new"):
        make(path, text, folder=False)
        assert "replaces" not in record_path(path).read_text()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["artefact", "artefact.json"]


def test_a_record_is_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "artefact"
    path.write_text("content")
    options = {"error": float("nan"), "sizes": (1, 2)}
    write_record(path, Record("onnx", sha256_of(path), (), {}, options, {}))
    assert "NaN" not in record_path(path).read_text()
    record = read_record(path)
    assert record is not None
    assert record.options == {"error": None, "sizes": [1, 2]}


@pytest.mark.parametrize("kind", ["pipe", "huge"])
def test_a_record_that_is_no_file_of_a_records_size_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "artefact"
    path.write_text("content")
    if kind == "pipe":
        os.mkfifo(record_path(path))
    else:
        with record_path(path).open("wb") as stream:
            stream.truncate(1 << 40)
    with pytest.raises(EdgerepError, match=r"artefact\.json"):
        read_record(path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"'])
def test_a_record_that_is_no_object_is_refused_in_our_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "artefact"
    path.write_text("content")
    record_path(path).write_text(text)
    with pytest.raises(EdgerepError, match="an object is wanted") as caught:
        read_record(path)
    assert "indices" not in str(caught.value)


@pytest.mark.parametrize(("name", "kind"), [
    ("a.onnx", "weights"), ("a.engine", "onnx"), ("a.mlpackage", "engine"),
    ("a.safetensors", "coreml"),
])  # fmt: skip
def test_the_record_of_another_kind_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("x")
    write_record(path, Record(kind, sha256_of(path), (), {}, {}, {}))
    with pytest.raises(EdgerepError, match=f"is of the kind '{kind}', not"):
        read_record(path)

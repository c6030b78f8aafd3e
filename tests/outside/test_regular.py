"""Only regular files are read, and folders that hold nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edgerep.artefacts.files import sha256_of
from edgerep.errors import DataError, EdgerepError
from edgerep.outside.regular import files_in, read_regular, require_regular


def test_what_is_no_regular_file_is_refused_by_its_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket has at most 100 bytes
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        kinds = {"pipe": "a pipe", "to-zero": "a device", "socket": "a socket", ".": "a folder"}
        for name, kind in kinds.items():
            with pytest.raises(DataError, match=kind):
                require_regular(tmp_path / name, DataError)
    for missing in ("nothing", "a\0b"):
        with pytest.raises(DataError, match="cannot read"):
            require_regular(tmp_path / missing, DataError)


def test_a_file_of_more_than_is_read_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(EdgerepError, match="1,099,511,627,776 bytes"):
        sha256_of(path)
    with pytest.raises(EdgerepError, match="at most 10 "):
        read_regular(path, most=10)


def test_a_folder_that_is_an_artefact_holds_files_and_folders_only(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("z", "b/y", "b/c/x"):
        (tmp_path / name).touch()
    assert [str(file.relative_to(tmp_path)) for file in files_in(tmp_path)] == ["b/c/x", "b/y", "z"]
    (tmp_path / "b" / "link").symlink_to("/etc/passwd")
    with pytest.raises(EdgerepError, match="link is a link"):
        files_in(tmp_path)
    (tmp_path / "b" / "link").unlink()
    with (tmp_path / "b" / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(EdgerepError, match="no package"):
        files_in(tmp_path)
    (tmp_path / "b" / "sparse").unlink()
    (tmp_path / "b" / "/".join(["d"] * 20)).mkdir(parents=True)
    with pytest.raises(EdgerepError, match="no package"):
        files_in(tmp_path)

"""200 damaged files, read in this process; `make fuzz` reads thousands, each in one of its own."""

from __future__ import annotations

import io
import json
import random
import resource
import signal
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from damaged.cases import Case, make_case
from damaged.corpus import make_corpus
from damaged.damage import damage_bytes, damage_zip
from damaged.fuzz import summary_table
from damaged.judging import Outcome, fault_of, run_case

ROOT = Path(__file__).parents[2]
SEED = 7  # another one than that of `make fuzz`
STEP = 20
MOST_CPU_SECONDS = 60.0  # of one file; a busy machine does not change it
MOST_WALL_SECONDS = 600  # where a command waits for what never comes
SPARE_KIB = 2 << 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    return folder


@contextmanager
def watched() -> Iterator[None]:
    """Fail a block that takes a minute of CPU time or 2 GiB more than was ever taken before it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    signal.alarm(MOST_WALL_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
    assert time.process_time() - started < MOST_CPU_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < SPARE_KIB


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="damages with a device of Unix")
@pytest.mark.parametrize("first", range(0, 200, STEP))
def test_a_damaged_file_is_read_or_refused_in_words(
    first: int, corpus: Path, tmp_path: Path
) -> None:
    for number in range(first, first + STEP):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = make_case(number, SEED, corpus, folder)
        with watched():
            outcome = run_case(case)
        assert fault_of(case, outcome) is None, (case.name, case.words, outcome.output[-2000:])


def test_the_same_number_gives_the_same_file(corpus: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        case = make_case(0, SEED, corpus, tmp_path / name)
        made.append(case.file.read_bytes())
    assert made[0] == made[1]
    assert made[0] != (corpus / "net.pth").read_bytes()


FAULTS = {
    "a traceback": (1, "Traceback (most recent call last):\n  ...\nKeyError: 'a'"),
    "a fault of our own": (3, "edgerep: error: edgerep itself is at fault: KeyError: 'a'"),
    "another exit code": (-11, ""),
    "no exit code": (None, ""),
    "no memory": (3, "edgerep: error: there is not enough memory for this network and batch"),
    "a long message": (3, "edgerep: error: damaged.pth " + "x" * 3000),
    "a message that names nothing": (3, "edgerep: error: it is broken"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_good_behaviour_is_noticed(name: str) -> None:
    """Otherwise the tests above could not fail."""
    case = Case("x 0", "x", ("inspect", "damaged.pth"), Path("damaged.pth"))
    assert fault_of(case, Outcome(*FAULTS[name])) is not None
    assert fault_of(case, Outcome(3, "edgerep: error: damaged.pth is broken")) is None


def test_the_page_on_files_has_the_table_of_the_recorded_run() -> None:
    recorded = json.loads((ROOT / "docs/results/fuzz-files-2026-11-27.json").read_text())
    assert recorded["files"] >= 2000
    assert recorded["faults"] == []
    page = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    assert summary_table(recorded) in page


def test_an_archive_is_damaged_as_one(tmp_path: Path) -> None:
    """The generator knows members: most of what it makes is still an archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("a/data.pkl", "a/data/0"):
            archive.writestr(name, b"content" * 100)
    results = [
        damage_zip(
            random.Random(i), made.getvalue(), lambda draw, _, data: damage_bytes(draw, data)
        )
        for i in range(50)
    ]
    whole = sum(zipfile.is_zipfile(io.BytesIO(result)) for result in results)
    assert whole > 40
    assert len(set(results)) > 30

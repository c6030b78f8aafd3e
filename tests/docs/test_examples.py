"""What the pages tell their reader to run does what the pages say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest
from docs.pages import (
    PAGES,
    ROOT,
    blocks_of,
    first_line_not_printed,
    is_part_of_a_file,
    name_of,
    steps_of,
)

from edgerep.devices import cuda_device_present

STEPS = [step for page in PAGES for step in steps_of(page)]
EXCERPTS = [
    pytest.param(block.text, id=f"{name_of(page)}:{block.line}")
    for page in PAGES
    for block in blocks_of(page.read_text(encoding="utf-8"))
    if is_part_of_a_file(block)
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What became of each step, all pages read by one process."""
    place = tmp_path_factory.mktemp("pages")
    by_page: dict[str, list[int]] = {}
    for index, step in enumerate(STEPS):
        by_page.setdefault(step.page, []).append(index)
    pages = []
    for number, indices in enumerate(by_page.values()):
        folder = place / str(number)
        for part in ("demo", "examples"):  # what a checkout has that the pages use
            shutil.copytree(ROOT / "docs" / part, folder / "docs" / part)
        steps = [{**asdict(STEPS[index]), "output": STEPS[index].output} for index in indices]
        pages.append({"folder": str(folder), "steps": steps})
    (place / "steps.json").write_text(json.dumps(pages), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, ROOT / "tests/docs/reader.py", "steps.json", "outcomes.json"],
        cwd=place,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((place / "outcomes.json").read_text(encoding="utf-8"))
    return {
        index: outcome
        for indices, of_page in zip(by_page.values(), found, strict=True)
        for index, outcome in zip(indices, of_page, strict=True)
    }


@pytest.mark.parametrize("index", range(len(STEPS)), ids=[str(step) for step in STEPS])
def test_a_step_does_what_the_page_says(index: int, outcomes: dict[int, dict[str, Any]]) -> None:
    step, outcome = STEPS[index], outcomes[index]
    printed = outcome["printed"]
    if outcome["exit_code"] == 4 and step.exit_code != 4:
        pytest.skip(printed.splitlines()[-1])
    assert outcome["exit_code"] == step.exit_code, printed
    if step.exit_code == 0 and step.output is not None:
        assert outcome["wrote"], f"{step.output} was not written:\n{printed}"
    # Elsewhere more can run, and other lines are printed.
    if sys.platform == "linux" and not cuda_device_present():
        missing = first_line_not_printed(step.shown, printed)
        assert missing is None, f"the page shows {missing!r}; printed was\n{printed}"


@pytest.mark.parametrize("text", EXCERPTS)
def test_what_is_said_to_be_of_a_file_is_in_it(text: str) -> None:
    first, _, part = text.partition("\n")
    assert part in (ROOT / first.removeprefix("# ")).read_text(encoding="utf-8")


def test_the_pages_have_examples() -> None:
    assert {"README.md", "docs/own-network.md", "docs/python.md"} <= {step.page for step in STEPS}
    assert len(EXCERPTS) >= 1


def test_the_demo_is_the_command_that_the_page_shows() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(DEMO)", "docs/demo")
    page = (ROOT / "docs/demo.md").read_text(encoding="utf-8")
    (shown,) = [b.text for b in blocks_of(page) if b.text.startswith("edgerep deploy")]
    assert " ".join(shown.split()) in " ".join(makefile.split())


PRINTED = "   0.1s  read  a.pth\n\n  2.5s  onnx  a.onnx: 16 Conv\n  3.0s  done\n"


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (("0.2s read a.pth", "...", "9.9s done"), None),
        (("1s onnx a.onnx: 3 Conv",), None),
        (("1s onnx a.onnx: 3 Relu",), "1s onnx a.onnx: 3 Relu"),
        (("3.0s done", "...", "1s read a.pth"), "1s read a.pth"),  # another order
        (("1s read a.pth", "1s done"), "1s done"),  # left out, and no ... said so
        ((), None),
    ],
)
def test_a_shown_line_that_was_not_printed_is_found(
    shown: tuple[str, ...], missing: str | None
) -> None:
    assert first_line_not_printed(shown, PRINTED) == missing


def test_a_promised_exit_code_is_read() -> None:
    (step,) = [step for step in STEPS if "nothing.pth" in step.words]
    assert step.exit_code == 3
    assert step.words[-1] == "nothing.mlpackage"

"""The pages of the documentation, cut into what can be run and what has to lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
READ_BY_PEOPLE = (*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_EXIT_CODE = re.compile(r"#.*\bexit code (\d+)")
_HASH = re.compile(r"\b[0-9a-f]{12,}\b")
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """One fenced block: what stands behind the backticks, its text, and where it begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Step:
    """One thing that a reader of a page does: a command of a console, or a block of Python.

    Attributes:
        page: Name of the page.
        line: Where its block begins.
        words: The command's words; empty for Python.
        code: The Python to run; empty for a command.
        shown: Lines that the page shows as the answer.
        exit_code: That the page promises.
    """

    page: str
    line: int
    words: tuple[str, ...] = ()
    code: str = ""
    shown: tuple[str, ...] = ()
    exit_code: int = 0

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {' '.join(self.words[:2]) or 'python'}"

    @property
    def output(self) -> str | None:
        """The file that the command is told to write."""
        return self.words[self.words.index("-o") + 1] if "-o" in self.words else None


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(text: str) -> list[Block]:
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(text)
    ]


def prose_of(text: str) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", text)


def spans_of(text: str) -> list[str]:
    """What stands between backticks in running text, on one line each."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose_of(text))]


def is_part_of_a_file(block: Block) -> bool:
    return block.language == "python" and block.text.startswith("# docs/")


def steps_of(page: Path) -> Iterator[Step]:
    """All that a page has its reader run, in order."""
    name = name_of(page)
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.language == "python" and not is_part_of_a_file(block):
            yield Step(name, block.line, code=block.text)
        elif block.language == "console":
            yield from _console(name, block)


def _console(page: str, block: Block) -> Iterator[Step]:
    text = block.text.replace("\\\n", " ")
    assert text.startswith("$ "), f"{page}:{block.line}: a console begins with a command"
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, answer = part.partition("\n")
        promised = _EXIT_CODE.search(line)
        yield Step(
            page,
            block.line,
            tuple(shlex.split(line, comments=True)),
            shown=tuple(filter(None, map(str.strip, answer.splitlines()))),
            exit_code=int(promised[1]) if promised else 0,
        )


def command_lines(text: str) -> Iterator[tuple[str, ...]]:
    """Every call of edgerep in the blocks of a page, run or not, as words."""
    for block in blocks_of(text):
        if block.language in ("console", "sh"):
            for line in block.text.replace("\\\n", " ").splitlines():
                words = tuple(shlex.split(line.removeprefix("$ "), comments=True))
                if words[:1] == ("edgerep",) and (block.language == "sh" or line.startswith("$ ")):
                    yield words


def plain(line: str) -> str:
    """A printed line with each number, hash and gap as one sign."""
    return " ".join(_NUMBER.sub("#", _HASH.sub("#", line)).split())


# A line of progress that says for how long something is being done.
_STILL_AT_IT = re.compile(r"\s*[\d.]+s  \w+ +.*: \d+ s")


def first_line_not_printed(shown: tuple[str, ...], printed: str) -> str | None:
    """The first line of a page's answer that does not stand where it should in what was printed.

    Lines before the first and behind the last may be left out without a word; between two lines
    `...` says that some were. What a command says while it is waited for depends on the machine
    and is passed over.
    """
    said = [line for line in printed.splitlines() if line.strip()]
    lines = [plain(line) for line in said if not _STILL_AT_IT.fullmatch(line)]
    at, gap = 0, True
    for line in shown:
        if line == "...":
            gap = True
            continue
        wanted = plain(line)
        places = range(at, len(lines)) if gap else range(at, min(at + 1, len(lines)))
        place = next((place for place in places if lines[place] == wanted), None)
        if place is None:
            return line
        at, gap = place + 1, False
    return None

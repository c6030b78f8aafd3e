"""Every link of a page leads somewhere, and every file that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs.pages import READ_BY_PEOPLE, ROOT, name_of, prose_of, spans_of

PAGES = (*READ_BY_PEOPLE, ROOT / "docs/demo/README.md", ROOT / "tests/gpu/README.md")
LARGEST_PICTURE = 200_000  # bytes
README_LINES = 90

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`]*`")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_PATH = re.compile(r"(edgerep|export|bench|tests|docs|\.ci|\.github)/[\w./-]*")


def links_of(text: str) -> list[str]:
    return _LINK.findall(_CODE.sub("`code`", prose_of(text)))


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: dict[str, int] = {}
    anchors = set()
    for heading in _HEADING.findall(prose_of(text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors


def dead_link(link: str, page: Path) -> str | None:
    """Why a link of a page leads nowhere; None if it leads somewhere, or away from here."""
    if re.match(r"[a-z]+:", link):
        return None
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f"{link}: there is no {target}"
    if not target.is_relative_to(ROOT):
        return f"{link} leads out of the repository"
    if anchor and anchor not in anchors_of(target.read_text(encoding="utf-8")):
        return f"{link}: no heading of {name_of(target)} has this anchor"
    return None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = links_of(page.read_text(encoding="utf-8"))
    assert [reason for link in links if (reason := dead_link(link, page))] == []


@pytest.mark.parametrize("page", READ_BY_PEOPLE, ids=name_of)
def test_every_file_and_folder_that_is_named_is_there(page: Path) -> None:
    spans = spans_of(page.read_text(encoding="utf-8"))
    named = [span for span in spans if _PATH.fullmatch(span)]
    assert [span for span in named if not (ROOT / span).exists() and not _is_module(span)] == []


def _is_module(span: str) -> bool:
    """Whether it names a file without its suffix, as the tables of imports do."""
    return (ROOT / f"{span}.py").is_file() or (ROOT / "edgerep" / f"{span}.py").is_file()


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/index.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for link in links_of(index.read_text(encoding="utf-8"))
    }
    assert {*PAGES} - linked - {index, ROOT / "CHANGELOG.md"} == set()


def test_pictures_are_small() -> None:
    pictures = [path for path in (ROOT / "docs/pictures").iterdir() if path.suffix != ".py"]
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < LARGEST_PICTURE, picture


def test_the_readme_is_two_screens() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES


@pytest.mark.parametrize(
    ("link", "is_dead"),
    [
        ("docs/fusing.md", False),
        ("docs/fusing.md#the-algebra", False),
        ("#install", False),
        ("https://example.com/nothing", False),
        ("docs/nothing.md", True),
        ("docs/fusing.md#the-geometry", True),
        ("../nothing.md", True),
    ],
)
def test_a_dead_link_is_found(link: str, is_dead: bool) -> None:
    assert (dead_link(link, ROOT / "README.md") is not None) == is_dead


def test_links_in_code_are_no_links_and_headings_in_code_no_headings() -> None:
    text = "`[a](b)` [c](d)\n```sh\n# no heading\n[e](f)\n```\n## One & two\n## One & two\n"
    assert links_of(text) == ["d"]
    assert anchors_of(text) == {"one--two", "one--two-1"}

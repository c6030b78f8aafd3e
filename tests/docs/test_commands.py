"""Every command and option that a page names is one that edgerep has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
import pytest
from docs.pages import READ_BY_PEOPLE, ROOT, command_lines, name_of, spans_of

from edgerep.cli import group

_OPTION = re.compile(r"--?[a-z][a-z-]*")


def options_of(command: click.Command) -> set[str]:
    with click.Context(command) as context:
        parameters = command.get_params(context)
    return {"-h", "--help"}.union(
        *({*parameter.opts, *parameter.secondary_opts} for parameter in parameters)
    )


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """The options of each command, and under "" those of edgerep itself."""
    with click.Context(group) as context:
        names = group.list_commands(context)
        commands = {name: group.get_command(context, name) for name in names}
    return {
        "": options_of(group),
        **{name: options_of(command) for name, command in commands.items() if command},
    }


def unknown_words(words: Iterable[str], known: Mapping[str, set[str]]) -> list[str]:
    """What in a call of edgerep, without its first word, edgerep does not have."""
    command, *rest = words
    if command.startswith("-"):
        return [word for word in (command, *rest) if word not in known[""]]
    if command.isupper():  # stands for any
        options = set().union(*known.values())
    elif command in known:
        options = known[command]
    else:
        return [command]
    return [word for word in rest if _OPTION.fullmatch(word) and word not in options]


def calls_in(text: str, known: Mapping[str, set[str]]) -> list[list[str]]:
    """Every call of edgerep that a page shows, and every one that it names in running text."""
    calls = [list(words[1:]) for words in command_lines(text)]
    for span in spans_of(text):
        words = span.split()
        if words[0] == "edgerep" and len(words) > 1:
            calls.append(words[1:])
        elif words[0] in known and len(words) > 1:
            calls.append(words)
        elif words[0].startswith("--"):
            calls.append(["COMMAND", *shlex.split(span)])
    return calls


@pytest.mark.parametrize("page", READ_BY_PEOPLE, ids=name_of)
def test_every_command_and_option_exists(page: Path, known: dict[str, set[str]]) -> None:
    calls = calls_in(page.read_text(encoding="utf-8"), known)
    unknown = {" ".join(call): found for call in calls if (found := unknown_words(call, known))}
    assert unknown == {}


def test_every_command_is_on_the_page_of_commands(known: dict[str, set[str]]) -> None:
    spans = spans_of((ROOT / "docs/commands.md").read_text(encoding="utf-8"))
    assert set(known) - {""} - {span.split()[0] for span in spans} == set()


@pytest.mark.parametrize(
    ("call", "unknown"),
    [
        ("fuse a.pth -o b.safetensors --to timm", []),
        ("COMMAND --help", []),
        ("--version", []),
        ("fuse a.pth --precision fp16", ["--precision"]),  # another command's
        ("melt a.pth", ["melt"]),
        ("COMMAND --melt", ["--melt"]),
        ("--melt", ["--melt"]),
    ],
)
def test_what_edgerep_does_not_have_is_found(
    call: str, unknown: list[str], known: dict[str, set[str]]
) -> None:
    assert unknown_words(call.split(), known) == unknown

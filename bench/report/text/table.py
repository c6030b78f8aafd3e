"""Plain-text tables, as wide as the terminal at most."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import TextIO

_USUAL = 80  # columns of a terminal that does not say
_shown_on: ContextVar[TextIO | None] = ContextVar("shown_on", default=None)
_GAP, _SMALL_GAP = 2, 1  # spaces between two columns, and where room is short
_NAMES, _LEAST = 15, 24  # the column of names, and what stays for values: a SHA-256 fits into 80
_NARROW = (12, 8, 4)  # how far columns of words give way, one step after another


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    spare: Sequence[str] = (),
) -> str:
    """An aligned table: the first column to the left, columns of numbers to the right.

    A column is one of numbers when each of its cells, but for empty ones and dashes, begins with
    a digit, a sign or a dot.

    Args:
        headers: One for each column.
        rows: As many cells each.
        width: In characters; cells of words are broken into lines until the table fits, numbers
            never are. If omitted, that of the terminal; without a terminal there is no limit.
        spare: Headers of columns that are left out where there is no room, one after another in
            this order, before a cell is broken; a last line names those that were.
    """
    limit = terminal_width() if width is None else width
    left_out: list[str] = []
    for header in spare:
        if limit is None or _needed(headers, rows) <= limit:
            break
        at = headers.index(header)
        headers = [*headers[:at], *headers[at + 1 :]]
        rows = [(*row[:at], *row[at + 1 :]) for row in rows]
        left_out.append(header)
    cells = [tuple(headers), *(tuple(row) for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    right = [i > 0 and all(_numeric(row[i]) for row in rows) for i in range(len(headers))]
    gap = _GAP
    if limit is not None and sum(widths) + gap * (len(widths) - 1) > limit:
        gap = _SMALL_GAP
        numbers = [max((_width(row[i]) for row in rows), default=0) for i in range(len(headers))]
        floor = [number if is_number else 0
                 for number, is_number in zip(numbers, right, strict=True)]  # fmt: skip
        widths = _fitted(widths, floor, limit - gap * (len(widths) - 1))
    between = " " * gap
    rule = between.join("-" * size for size in widths)
    head, *body = (_lines(row, widths, right, between) for row in cells)
    note = [f"(no room for: {', '.join(left_out)})"] if left_out else []
    return "\n".join([*head, rule, *(line for lines in body for line in lines), *note])


def pairs(rows: Sequence[tuple[str, str]], width: int | None = None) -> str:
    """Names and what each is, a line for each; what is too long goes on below itself.

    Args:
        rows: A name and its value each.
        width: As for `table`.
    """
    limit = terminal_width() if width is None else width
    lines = []
    for name, value in rows:
        room = len(value) if limit is None else max(limit - _NAMES - 1, _LEAST)
        for index, part in enumerate(_broken(value, max(room, 1))):
            lines.append(f"{'' if index else name:<{_NAMES}} {part}".rstrip())
    return "\n".join(lines)


def terminal_width() -> int | None:
    """How wide a table may be: COLUMNS, else the terminal it is shown on; None for no limit."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    stream = _shown_on.get() or sys.stdout
    if stream is None or not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL
    except (OSError, ValueError):  # a terminal that is none of the system's
        return _USUAL


@contextlib.contextmanager
def shown_on(stream: TextIO | None) -> Iterator[None]:
    """Within this context, tables are as wide as `stream`, and not as stdout, which may be another.

    A command's own stdout is its stderr while the network's code runs.
    """
    before = _shown_on.set(stream)
    try:
        yield
    finally:
        _shown_on.reset(before)


def _needed(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The width of a table none of whose cells is broken, in characters."""
    columns = zip(headers, *rows, strict=True)
    return sum(max(map(_width, column)) for column in columns) + _SMALL_GAP * (len(headers) - 1)


def _fitted(widths: Sequence[int], floor: Sequence[int], room: int) -> list[int]:
    """Widths that fit, the widest columns shortened first; too wide where nothing can give way."""
    found = list(widths)
    for narrow in _NARROW:
        least = [max(low, min(size, narrow)) for low, size in zip(floor, widths, strict=True)]
        while sum(found) > room:
            spare = [i for i, size in enumerate(found) if size > least[i]]
            if not spare:
                break
            found[max(spare, key=lambda i: found[i])] -= 1
    return found


def _lines(
    row: Sequence[str], widths: Sequence[int], right: Sequence[bool], between: str
) -> list[str]:
    parts = [_broken(cell, size) for cell, size in zip(row, widths, strict=True)]
    height = max(map(len, parts))
    columns = [
        [line.rjust(size) if to_right else line.ljust(size)
         for line in (*part, *[""] * (height - len(part)))]
        for part, size, to_right in zip(parts, widths, right, strict=True)
    ]  # fmt: skip
    return [between.join(line).rstrip() for line in zip(*columns, strict=True)]


class _Wrapper(textwrap.TextWrapper):
    """Breaks where there is a space, and behind a hyphen, a slash or a colon inside a word."""

    wordsep_re = re.compile(r"(\s+|[^\s/:-]*[/:-]+(?=[^\s/:-]))")


def _broken(cell: str, size: int) -> list[str]:
    lines: list[str] = []
    for line in cell.splitlines():
        lines += _Wrapper(max(size, 1)).wrap(line) if len(line) > size else [line]
    return lines or [""]


def _width(cell: str) -> int:
    return max(map(len, cell.splitlines()), default=0)


def _numeric(cell: str) -> bool:
    return not cell or cell == "-" or cell[0] in "0123456789+-."

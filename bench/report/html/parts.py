"""Building blocks of the report's sections: tables, badges, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from edgerep.bench.report.html.markup import Child, Markup, tag

Fields: TypeAlias = Mapping[str, Any]  # JSON, perhaps of an older or newer edgerep
NONE = "–"  # noqa: RUF001 (an en dash: nothing to show)


def section(title: str, lead: str, *children: Child) -> Markup:
    return tag("section", tag("h2", title), tag("p", lead, class_="lead"), *children)


def html_table(headers: Sequence[str], rows: Sequence[Sequence[Child]]) -> Markup:
    """A table; columns whose header ends in `#` hold numbers, in `*` long text that may break."""
    kinds = [{"#": "number", "*": "wide"}.get(header[-1:]) for header in headers]
    names = [header.rstrip("#*") for header in headers]
    head = (tag("th", name, class_=kind) for name, kind in zip(names, kinds, strict=True))
    body = (
        tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    )
    whole = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", whole, class_="scroll")


def badge(text: str, kind: str = "") -> Markup:
    """A word on a coloured ground; `kind` is "good", "bad", "wait" or empty."""
    return tag("span", text, class_=f"badge {kind}".strip())


def tile(name: str, value: str, detail: str, kind: str = "") -> Markup:
    return tag(
        "div",
        tag("div", name, class_="name"),
        tag("div", value, class_="value"),
        tag("div", detail, class_="detail"),
        class_=f"tile {kind}".strip(),
    )


def facts(pairs: Mapping[str, Child]) -> Markup:
    """A table of names and values, one pair a line."""
    return html_table(
        ("", "*"), [(tag("span", name, class_="note"), pairs[name]) for name in pairs]
    )


def folded(title: str, *children: Child) -> Markup:
    """Children that show once the line `title` is clicked on."""
    return tag("details", tag("summary", title), *children)


def number(value: object, form: str = ".3g") -> str:
    """A number in a format; a dash for null; anything else (such as "Infinity") as it stands."""
    if value is None:
        return NONE
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        whole = isinstance(value, int) or not form.endswith("d")  # which takes no float
        return format(value, form) if whole else f"{value:g}"
    return str(value)


def size_text(count: object) -> str:
    """A number of bytes in B, KiB, MiB or GiB; anything else as `number` has it."""
    if not isinstance(count, (int, float)):
        return number(count)
    if count < 1024:
        return f"{count:.0f} B"
    scaled, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if scaled >= 1024:
            scaled, unit = scaled / 1024, larger
    return f"{scaled:.1f} {unit}"


def plain(value: object) -> str:
    """Nested JSON on one line; what is null inside is left out."""
    if isinstance(value, Mapping):
        return ", ".join(f"{words(k)} {plain(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or NONE
    return NONE if value is None else str(value)


def words(name: object) -> str:
    """The name of a JSON field for people, without a unit in bytes: its value shows the unit."""
    plain_name = str(name).removesuffix("_bytes").replace("temperatures_c", "temperatures °C")
    return plain_name.replace("_", " ")


def lines(text: object) -> Markup:
    """A message as it was laid out, line by line."""
    return tag("span", NONE if text is None else text, class_="lines")


def code(text: object) -> Markup:
    return tag("code", NONE if text is None else text)

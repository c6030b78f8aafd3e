"""HTML that cannot be injected into: text is escaped unless it was made here."""

from __future__ import annotations

from html import escape
from typing import TypeAlias


class Markup(str):
    """Text that is HTML already: what `tag` returns."""

    __slots__ = ()


Child: TypeAlias = object  # str is escaped, Markup is not, None is left out, others become str
_VOID = frozenset({"meta", "br", "line", "rect", "circle"})  # no content, in HTML or as used here


def tag(name: str, /, *children: Child, **attributes: object) -> Markup:
    """One HTML element; attribute names may end in `_` (`class_`), and `_` inside becomes `-`.

    An attribute that is None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>" if name in ("meta", "br") else f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Children one after another, each escaped unless it is `Markup`."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(_text(child))
            for child in children
            if child is not None
        )
    )


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

"""Reads the imports of a set of modules, and says which of them break the rules of the house."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One module that another one takes something from.

    Attributes:
        importer: The module that the import stands in.
        line: Where it stands.
        module: The module that is imported, as far as its name is known.
        names: What is taken from it; empty if the module itself is.
    """

    importer: str
    line: int
    module: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


@dataclass(frozen=True)
class Rules:
    """Who may import what.

    Attributes:
        floors: For each room (a folder, or a file by its module's name), the rooms that it may
            import from, itself apart. A room is written without the package: `export.graph`.
        vendors: For each foreign package, the modules that may import it; a folder stands for all
            that is in it. Packages that are not listed may be imported anywhere.
        bare: Rooms that import no vendor at all.
        package: All modules are in it.
        anywhere: Names that any module may take from the package itself.
    """

    floors: Mapping[str, Collection[str]]
    vendors: Mapping[str, Collection[str]] = field(default_factory=dict)
    bare: Collection[str] = ()
    package: str = "edgerep"
    anywhere: Collection[str] = ("__version__",)


def read_sources(root: Path, package: str = "edgerep") -> dict[str, str]:
    """The source of each module of a package, by the module's name; links are followed."""
    found: dict[str, str] = {}
    folders = [root / package]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_dir() and path.name != "__pycache__":
                folders.append(path)
            elif path.suffix == ".py":
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                found[name] = path.read_text(encoding="utf-8")
    return found


def imports_of(module: str, source: str, modules: Collection[str]) -> Iterator[Import]:
    """Every import in a source, wherever it stands, dotted names of modules in strings too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = []
            for alias in node.names:
                if f"{node.module}.{alias.name}" in modules:
                    yield Import(module, node.lineno, f"{node.module}.{alias.name}")
                else:
                    names.append(alias.name)
            if names:
                yield Import(module, node.lineno, node.module, tuple(names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in modules and "." in node.value:
                yield Import(module, node.lineno, node.value)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and first.value not in modules:
                yield Import(module, node.lineno, str(first.value))


def violations(sources: Mapping[str, str], rules: Rules) -> list[str]:
    """What breaks the rules, in words, one sentence each."""
    every = [one for name, text in sources.items() for one in imports_of(name, text, sources)]
    inner = [one for one in every if one.module.partition(".")[0] == rules.package]
    foreign = [one for one in every if one.module.partition(".")[0] != rules.package]
    return [
        *_upwards(inner, sources, rules),
        *_circles([(one.importer, one.module) for one in inner], "files"),
        *_circles(_between_folders(inner, rules), "folders"),
        *_vendors_elsewhere(foreign, rules),
        *_private_names(inner, sources, rules),
    ]


def room_of(module: str, rules: Rules) -> str:
    """The narrowest room of the rules that a module is in; empty if it is in none."""
    path = module.partition(".")[2]
    rooms = [room for room in rules.floors if path == room or path.startswith(f"{room}.")]
    return max(rooms, key=len, default="")


def _upwards(inner: Iterable[Import], sources: Collection[str], rules: Rules) -> Iterator[str]:
    for name in sorted(sources):
        if name != rules.package and not room_of(name, rules):
            yield f"{name} stands in no room of the table"
    for one in inner:
        if one.module == rules.package and set(one.names) - set(rules.anywhere):
            yield f"{one}: {', '.join(one.names)}, by way of the public names"
        elif one.module == rules.package and not one.names:
            yield f"{one}: by way of the public names"
        if rules.package in (one.importer, one.module):
            continue
        here, there = room_of(one.importer, rules), room_of(one.module, rules)
        if (
            here
            and here != there
            and not _is_within(one.module.partition(".")[2], rules.floors[here])
        ):
            yield f"{one}: {here} may not import {there or one.module}"


def _is_within(room: str, allowed: Iterable[str]) -> bool:
    return any(room == one or room.startswith(f"{one}.") for one in allowed)


def _between_folders(inner: Iterable[Import], rules: Rules) -> list[tuple[str, str]]:
    """Pairs of folders, siblings only: a folder may use the files that stand beside it."""
    pairs = []
    for one in inner:
        here, there = one.importer.split("."), one.module.split(".")
        depth = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
        if depth is not None and depth > 0:
            pairs.append((".".join(here[: depth + 1]), ".".join(there[: depth + 1])))
    return pairs


def _circles(pairs: Sequence[tuple[str, str]], what: str) -> Iterator[str]:
    """One sentence for each circle that a search in depth runs into."""
    reads: dict[str, set[str]] = {}
    for here, there in pairs:
        if here != there and "." in here and "." in there:  # the package hands its names on
            reads.setdefault(here, set()).add(there)
    done: set[str] = set()
    for start in sorted(reads):
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(sorted(reads[start])))]
        while stack and stack[0][0] not in done:
            name, waiting = stack[-1]
            following = next(waiting, None)
            if following is None:
                done.add(name)
                stack.pop()
                continue
            path = [one for one, _ in stack]
            if following in path:
                circle = [*path[path.index(following) :], following]
                yield f"a circle of {what}: {' -> '.join(circle)}"
            elif following not in done:
                stack.append((following, iter(sorted(reads.get(following, ())))))


def _vendors_elsewhere(foreign: Iterable[Import], rules: Rules) -> Iterator[str]:
    for one in foreign:
        vendors = [vendor for vendor in rules.vendors if _is_within(one.module, [vendor])]
        if not vendors:
            continue
        allowed = rules.vendors[max(vendors, key=len)]
        room = one.importer.partition(".")[2]
        if not _is_within(room, allowed):
            yield f"{one}: only {', '.join(sorted(allowed)) or 'nobody'} may"
        elif _is_within(room, rules.bare):
            yield f"{one}: {room} is to serve where no vendor is installed"


def _private_names(
    inner: Iterable[Import], sources: Mapping[str, str], rules: Rules
) -> Iterator[str]:
    aliases: dict[str, dict[str, str]] = {}
    for one in inner:
        for name in one.names:
            if name.startswith("_") and name not in rules.anywhere:
                yield f"{one}: its {name} is private"
        if not one.names:
            aliases.setdefault(one.importer, {})[one.module.rpartition(".")[2]] = one.module
    for name, modules in aliases.items():
        for node in ast.walk(ast.parse(sources[name])):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            if node.value.id in modules and node.attr.startswith("_"):
                module = modules[node.value.id]
                yield f"{name}:{node.lineno} uses {module}: its {node.attr} is private"


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""

"""What code left in lists and dictionaries that it was given, put back into these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def shared_containers(result: Any, given: Any) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """The lists and dictionaries of a result that are those which were given, not equal ones.

    Returns:
        The way to each in the result, and the way to it in what was given: indices and keys.
    """
    ways = {id(one): way for way, one in _containers(given, ()) if isinstance(one, list | dict)}
    for way, one in _containers(result, ()):
        if id(one) in ways:
            yield way, ways[id(one)]


def leave(given: Any, left: Any) -> Any:
    """Make a container hold what code left in it, those in it too; what stands for `left` then."""
    if isinstance(given, list) and isinstance(left, list | tuple):
        kept = [leave(*pair) for pair in zip(given, left, strict=False)]
        given[:] = [*kept, *left[len(kept) :]]
        return given
    if isinstance(given, dict) and isinstance(left, Mapping):
        kept_by_key = {k: leave(given[k], v) if k in given else v for k, v in left.items()}
        given.clear()
        given.update(kept_by_key)
        return given
    if isinstance(given, tuple) and isinstance(left, list | tuple):
        for pair in zip(given, left, strict=False):
            leave(*pair)
        return given
    return left


def with_given(
    result: Any, given: Any, shared: Sequence[tuple[tuple[Any, ...], tuple[Any, ...]]]
) -> Any:
    """A result with the containers in it that were given, instead of equal ones.

    Args:
        result: Of code that was recorded.
        given: What that code was called with, containers as they were left.
        shared: What `shared_containers` found when the code was recorded.
    """
    for way, origin in shared:
        result = _put(result, way, _at(given, origin))
    return result


def _containers(value: Any, way: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if not isinstance(value, list | tuple | dict):
        return
    yield way, value
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield from _containers(part, (*way, key))


def _at(value: Any, way: Sequence[Any]) -> Any:
    for key in way:
        value = value[key]
    return value


def _put(value: Any, way: Sequence[Any], part: Any) -> Any:
    if not way:
        return part
    inner = _put(value[way[0]], way[1:], part)
    if isinstance(value, tuple):
        return (*value[: way[0]], inner, *value[way[0] + 1 :])
    value[way[0]] = inner
    return value

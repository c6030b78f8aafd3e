"""Containers that code was given hold what it left in them, and stay the containers they were."""

from __future__ import annotations

from typing import Any

from edgerep.torch_modules.changed_arguments import leave, shared_containers, with_given


def test_lists_and_dictionaries_hold_what_was_left_and_stay_the_same() -> None:
    inner: list[int] = [1, 2]
    given: dict[str, Any] = {"maps": inner, "gone": 3, "pair": ([4], 5)}
    pair = given["pair"]
    leave(given, {"maps": [1, 7, 8], "new": {"a": 1}, "pair": ([6], 5)})
    assert given == {"maps": [1, 7, 8], "new": {"a": 1}, "pair": ([6], 5)}
    assert list(given) == ["maps", "new", "pair"]
    assert given["maps"] is inner
    assert given["pair"] is pair


def test_a_list_may_become_shorter() -> None:
    given = [1, [2], 3]
    leave(given, [5])
    assert given == [5]


def test_a_result_holds_the_containers_that_were_given() -> None:
    maps, other = [1, 2], [1, 2]
    found = list(shared_containers(("y", {"a": maps}, other), {"x": maps}))
    assert found == [((1, "a"), ("x",))]
    again: list[int] = [1, 2]
    result = with_given(("y", {"a": [1, 2]}, [1, 2]), {"x": again}, found)
    assert result == ("y", {"a": [1, 2]}, [1, 2])
    assert result[1]["a"] is again
    assert result[2] is not again


def test_a_result_may_be_what_was_given() -> None:
    maps = [1]
    found = list(shared_containers(maps, {"x": maps}))
    assert with_given([1], {"x": maps}, found) is maps

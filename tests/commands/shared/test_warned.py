"""Warnings of a network's code are one line for each kind, and none between others."""

from __future__ import annotations

import warnings

from edgerep.commands.shared.warned import Warned


def test_warnings_of_one_kind_and_file_are_one_line() -> None:
    warned = Warned()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with warned.kept():
            for name in ("a", "b"):
                warnings.warn(f"overwriting {name}", UserWarning, stacklevel=1)
            warnings.warn(
                "old\n  way (Triggered internally at x.cpp:7.)", FutureWarning, stacklevel=1
            )
    first, second = warned.lines()
    assert first.startswith("the network's code warned: overwriting a (test_warned.py:")
    assert first.endswith(") (2 times)")
    assert second.startswith("the network's code warned: old way (test_warned.py:")
    assert warned.lines() == []


def test_behind_the_block_they_are_shown_as_before() -> None:
    before = warnings.showwarning
    with Warned().kept():
        assert warnings.showwarning is not before
    assert warnings.showwarning is before

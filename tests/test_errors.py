"""Messages are short and can be printed, whatever names a file has."""

from __future__ import annotations

import pytest
import torch

from edgerep.errors import LONGEST_MESSAGE, is_lack_of_memory, line_of, shortened


def test_a_long_message_keeps_what_was_found_and_what_to_do() -> None:
    message = "a.pth holds " + "names, " * 10_000 + ": save it again"
    short = shortened(message)
    assert len(short) <= LONGEST_MESSAGE
    assert short.startswith("a.pth holds names")
    assert short.endswith(": save it again")
    assert f"{len(message):,} characters" in short


def test_a_short_message_stays_as_it_is() -> None:
    message = "a.pth:\n  b \u00e9 \U0001f600"
    assert shortened(message) == message


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert shortened("a\x1b[2Jb\x00\ud800") == r"a\x1b[2Jb\x00\ud800"
    for count in (10, 3000):
        assert all(one.isprintable() for one in shortened("\x1b" * count))
        assert len(shortened("\x1b" * count)) <= LONGEST_MESSAGE


def test_a_lack_of_memory_is_told_from_other_errors() -> None:
    for count in (1 << 50, 1 << 62):  # more than there is, and more than can be counted
        with pytest.raises(RuntimeError) as caught:
            torch.empty(count)
        assert is_lack_of_memory(caught.value)
    assert is_lack_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2) + torch.ones(3)
    assert not is_lack_of_memory(caught.value)


def test_an_error_that_cannot_say_what_it_is_has_its_class_named() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert line_of(MuteError()) == "MuteError: no message"

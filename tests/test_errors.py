"""Messages are short and can be printed, whatever names a file has."""

from __future__ import annotations

from edgerep.errors import LONGEST_MESSAGE, shortened


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

"""Pickle streams are worked out as Python would, for plain data, and within bounds."""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgerep.checkpoints.pickle_machine import Maker, Unread, run_pickle


def look_up(module: str, name: str) -> object:
    """An OrderedDict is a dict; nothing else is known."""
    known = (module, name) == ("collections", "OrderedDict")
    return Maker(lambda *arguments: dict(*arguments)) if known else Unread


def read(stream: bytes) -> Any:
    return run_pickle(io.BytesIO(stream), look_up, lambda pid: ("stands for", pid))


def plain(draw: random.Random, depth: int, *, with_bytes: bool) -> Any:
    """Random plain data, with parts that occur twice."""
    few = functools.partial(plain, draw, depth - 1, with_bytes=with_bytes)
    raw = [b"", b"\xff" * 300, bytearray(b"bytes")] if with_bytes else []
    kinds: list[Callable[[], Any]] = [
        lambda: draw.choice([None, True, False, "", "name", "\u00e9\U0001f600", *raw]),
        lambda: draw.choice([0, 1, -1, 255, 65536, -(2**31), 2**63, 2**70, 1.5, -1e300]),
    ]
    if depth:
        part = few()
        kinds += [
            lambda: [few() for _ in range(draw.randrange(4))] + [part, part],
            lambda: tuple(few() for _ in range(draw.randrange(5))),
            lambda: {key: few() for key in ("a", 3, (1, "b"))},
            lambda: OrderedDict(a=part, b=part),
        ]
    return draw.choice(kinds)()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_every_protocol_is_what_python_reads(protocol: int) -> None:
    draw = random.Random(protocol)
    for _ in range(150):
        value = plain(draw, 4, with_bytes=protocol == 5)  # below, the call of a function makes some
        assert read(pickle.dumps(value, protocol)) == pickle.loads(pickle.dumps(value, protocol))


def test_sets_become_lists_and_objects_hold_nothing() -> None:
    assert sorted(read(pickle.dumps({1, 2, 3}, 4))) == [1, 2, 3]
    assert read(pickle.dumps(frozenset({7}), 4)) == (7,)
    for protocol in (0, 1, 2, 4):
        assert isinstance(read(pickle.dumps(Path("x"), protocol)), Unread)


def doubled(depth: int) -> bytes:
    """A tuple of two of the tuple before, so many times: its hash takes 2**depth steps."""
    steps = (b"q" + bytes([i]) + b"h" + bytes([i]) + pickle.TUPLE2 for i in range(depth))
    return pickle.EMPTY_TUPLE + b"".join(steps)


HOSTILE = {
    "a key that takes 2^40 steps to hash": b"\x80\x02}" + doubled(40) + b"Ns.",
    "the same in a list of items": b"\x80\x02}(" + doubled(40) + b"Nu.",
    "the same in a dict of items": b"\x80\x02(" + doubled(40) + b"Nd.",
    "a list as a key": b"\x80\x02}]Ns.",
    "a tuple of a list as a key": b"\x80\x02}]\x85Ns.",
    "an integer of 1000 bits as a key": b"\x80\x02}\x8a\x7f" + b"\x01" * 127 + b"Ns.",
    "a text longer than the file": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0f" + b"x.",
    "nothing on the stack": b"\x80\x020.",
    "a mark as a value": b"\x80\x02(.",
    "no mark": b"\x80\x02Nt.",
    "what was never made": b"\x80\x02h\x05.",
    "no end": b"\x80\x02N",
    "a cut": b"\x80",
    "an opcode that does not exist": b"\x80\x02\xff.",
    "a registered extension": b"\x80\x02\x82\x01.",
    "a buffer from outside": b"\x80\x05\x97.",
    "items of a text": b"\x80\x02V\na\nVx\nVy\ns.",
    "a call of a text": b"\x80\x02Vx\n)R.",
    "a state of a tuple": b"\x80\x02)}b.",
    "a key without a value": b"\x80\x02(Vx\nd.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_streams_are_refused_at_once(name: str) -> None:
    with pytest.raises((pickle.UnpicklingError, ValueError)) as refusal:
        read(HOSTILE[name])
    assert len(str(refusal.value)) < 300


def test_four_million_operations_are_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match="operations"):
        read(b"\x80\x02" + b"N0" * 2_000_000 + b"N.")


def test_ten_thousand_tuples_as_keys_are_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match="tuples as keys"):
        read(pickle.dumps({(i, 1): None for i in range(10_001)}, 2))


def test_calls_reach_only_what_was_looked_up(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for protocol in (0, 2, 4):
        for call in ((Path.write_text, marker, "run"), (exec, f"open({str(marker)!r}, 'w')")):
            with contextlib.suppress(pickle.UnpicklingError):  # it calls what a call has made
                assert isinstance(read(pickle.dumps(Calls(*call), protocol)), Unread)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Calls(Path.write_text, marker, "run")))
    assert marker.exists()  # elsewhere it would have run


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call

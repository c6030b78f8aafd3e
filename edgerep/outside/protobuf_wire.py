"""How many messages a protobuf text holds, counted without parsing it.

A message without fields takes two bytes in a file and about a hundred in memory. What is counted
here is what is parsed afterwards, so that nothing malformed has to be noticed.

The format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import Any

from edgerep.outside.regular import MIB

_MOST_MESSAGES = 1_000_000  # a graph of ten thousand nodes has a tenth
_HARMLESS = 8 * MIB  # that much can hold, at a hundred bytes for two, less than half a GiB
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


def require_few_messages(content: bytes, kind: Any) -> None:
    """Refuse a text that holds more messages than any that is read.

    Args:
        content: What will be parsed.
        kind: The class of its outermost message.

    Raises:
        ValueError: There are more.
    """
    if len(content) <= _HARMLESS:
        return
    waiting, count = [(0, len(content), kind.DESCRIPTOR)], 0
    while waiting:
        at, end, descriptor = waiting.pop()
        while at < end:
            key, at = _varint(content, at, end)
            wire = key & 7
            if wire == _VARINT:
                _, at = _varint(content, at, end)
            elif wire == _FIXED64:
                at += 8
            elif wire == _FIXED32:
                at += 4
            elif wire == _DELIMITED:
                length, at = _varint(content, at, end)
                field = descriptor.fields_by_number.get(key >> 3)
                if field is not None and field.message_type is not None:
                    count += 1
                    waiting.append((at, min(at + length, end), field.message_type))
                at += length
            else:
                break  # groups, which no format of ours has; the parser refuses them or skips them
            if count > _MOST_MESSAGES:
                raise ValueError(f"it holds more than {_MOST_MESSAGES:,} messages")


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return value, at

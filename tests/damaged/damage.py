"""Ways to damage a file that know how it is made: bytes, JSON, zip, pickle, protobuf, arrays.

Each takes a generator of random numbers and the good content, and gives the damaged content.
"""

from __future__ import annotations

import io
import json
import pickletools
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

_ODD_INTEGERS = (
    0,
    1,
    -1,
    2,
    7,
    255,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
)
_ODD_TEXTS = (
    "", "x", "\0", "..", "../../etc/passwd", "/dev/zero", "a" * 70_000, "\u202e\U0001f600", "NaN",
    "\x1b[2J", "weights/weight.bin", "@model_path/../x",
)  # fmt: skip
_ODD_BYTES = (b"", b"\0", b"\xff" * 9, b"/dev/zero", b"[" * 5000, b"(" * 9000)


def damage_bytes(draw: random.Random, content: bytes) -> bytes:
    """Flip, cut, drop, repeat, overwrite or insert bytes; nothing is known of what they mean."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(len(data) + 1)
        length = min(draw.choice((1, 4, 64, 4096)), len(data) - at)
        match draw.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * draw.choice((1, 100))
            case 4:
                data[at : at + length] = draw.choice((b"\0", b"\xff")) * length
            case 5:
                data[at:at] = draw.choice(_ODD_BYTES)
            case _ if len(data) >= 8:
                number = struct.pack("<Q", draw.choice(_ODD_INTEGERS) % 2**64)
                data[at : at + 8] = number
    return bytes(data)


def damage_json(draw: random.Random, content: bytes) -> bytes:
    """Give a node another type, an odd value or none at all; or write what is no JSON."""
    value: Any = json.loads(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        places = list(_places(value))
        holder: Any
        key: Any
        holder, key = draw.choice(places) if places else ([value], 0)
        match draw.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.extend([holder[key]] * draw.choice((1, 1000)))
            case 1:
                holder[draw.choice(_ODD_TEXTS)[:50]] = holder[key]
            case _:
                holder[key] = _odd_value(draw)
    text = json.dumps(value)
    match draw.randrange(12):
        case 0:
            text = text.replace(":", ': NaN, "x":', 1)
        case 1:
            text = "[" * 100_000 + "]" * 100_000
        case 2:
            text = text[: draw.randrange(len(text))]
        case 3:
            text = text.replace('"', '"\\ud800', 1)
        case 4:
            text = text.replace("1", "1" * draw.choice((30, 5000)), 1)
    return text.encode()


def _odd_value(draw: random.Random) -> Any:
    deep: Any = []
    for _ in range(draw.choice((3, 40, 500))):
        deep = [deep]
    return draw.choice(
        [None, True, 5, -1, 1.5, 1e300, 2**62, "x", *_ODD_TEXTS, [], {}, [None], [{}], {"a": 1},
         {"kind": 1}, [[]], deep, list(range(300)), {str(i): i for i in range(300)}]
    )  # fmt: skip


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key of a value inside another."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])


def damage_zip(
    draw: random.Random, content: bytes, inner: Callable[[random.Random, str, bytes], bytes]
) -> bytes:
    """Damage a member, or drop, rename, repeat or compress one, or give it a false size.

    Args:
        draw: Random numbers.
        content: The archive.
        inner: Called with the name of a member and its content; gives the damaged content.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(entry, archive.read(entry)) for entry in archive.infolist()]
    chosen = draw.randrange(len(members))
    action = draw.choice(("inner",) * 6 + ("drop", "rename", "repeat", "deflate", "bomb", "all"))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for index, (entry, data) in enumerate(members):
            name, method, times = entry.filename, entry.compress_type, 1
            if index == chosen or action == "all":
                match action:
                    case "inner":
                        data = inner(draw, name, data)
                    case "drop":
                        continue
                    case "rename":
                        prefix = draw.choice(("../", "/", "x/", "", "\\"))
                        name = prefix + name.replace("data", draw.choice(("code", "x", "data")))
                    case "repeat":
                        times = draw.choice((2, 50))
                    case "deflate" | "all":
                        method = zipfile.ZIP_DEFLATED
                    case "bomb":
                        method, data = zipfile.ZIP_DEFLATED, data + bytes(64 << 20)
            for number in range(times):
                info = zipfile.ZipInfo(name if number == 0 else f"{name}{number}")
                info.compress_type = method
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # two members of one name are damage, too
                    archive.writestr(info, data)
    whole = made.getvalue()
    return damage_directory(draw, whole) if draw.random() < 0.15 else whole


def damage_directory(draw: random.Random, content: bytes) -> bytes:
    """Give the list of an archive's members a false number."""
    data = bytearray(content)
    starts = [
        at for signature in (b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04")
        if (at := data.rfind(signature)) >= 0
    ]  # fmt: skip
    at = draw.choice(starts) + draw.randrange(4, 22)
    width = draw.choice((1, 2, 4))
    data[at : at + width] = (draw.choice(_ODD_INTEGERS) % 256**width).to_bytes(width, "little")
    return bytes(data)


_NAMES = (
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"cpathlib\nPath\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nComplexFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nSize\n",
    b"ccollections\nOrderedDict\n",
    b"c__main__\nNet\n",
    b"cnumpy\ndtype\n",
)
_STEPS = (
    b")R", b"}b", b"Q", b"0", b"(", b"t", b"]a", b"}Ns", b"h\x00", b"q\x05", b"2", b"\x85", b"\x86",
    b"e", b"u", b"N", b"K\xff", b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 8, b"G" + b"\x7f" * 8,
    b"U\xff" + b"a" * 255, b"\x93", b"\x81", b"\x92", b"\x94", b"\x97", b"o", b"d", b"l",
)  # fmt: skip


def damage_pickle(draw: random.Random, content: bytes) -> bytes:
    """Drop, repeat, move or insert operations, or insert names, calls and tuples in tuples."""
    starts = [at for _, _, at in pickletools.genops(content) if at is not None]
    pieces = [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]
    for _ in range(draw.choice((1, 1, 2, 6))):
        at = draw.randrange(1, len(pieces))
        match draw.randrange(8):
            case 0:
                del pieces[at]
            case 1:
                pieces[at:at] = [pieces[at]] * draw.choice((1, 50))
            case 2:
                other = draw.randrange(len(pieces))
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case 3:
                pieces.insert(at, draw.choice(_NAMES))
            case 4:
                levels = draw.choice((3, 30, 60))
                doubled = (b"q%ch%c\x86" % (i, i) for i in range(100, 100 + levels))
                pieces.insert(at, b")" + b"".join(doubled) + draw.choice((b"Ns", b"Q", b"0", b"")))
            case 5:
                pieces[at] = damage_bytes(draw, pieces[at]) or b"N"
            case _:
                pieces.insert(at, draw.choice(_STEPS))
    return b"".join(pieces)


def damage_message(draw: random.Random, message: Any) -> None:
    """Change fields of a protobuf message, or of one in it, in place."""
    for _ in range(draw.choice((1, 1, 2, 6))):
        _damage_field(draw, _descend(draw, message))


def _descend(draw: random.Random, message: Any) -> Any:
    """A message in a message: the deeper, the more of them there are."""
    for _ in range(12):
        inner = []
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            if field.message_type.GetOptions().map_entry:
                if field.message_type.fields_by_name["value"].message_type is not None:
                    inner += [value[key] for key in value]
            elif hasattr(value, "append") or hasattr(value, "add"):
                inner += list(value)
            else:
                inner.append(value)
        if not inner or draw.random() < 0.2:
            break
        message = draw.choice(inner)
    return message


def _damage_field(draw: random.Random, message: Any) -> None:
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    there = [field for field, _ in message.ListFields()]
    field = draw.choice(there) if there and draw.random() < 0.85 else draw.choice(fields)
    value = getattr(message, field.name)
    try:
        if draw.random() < 0.2:
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            _damage_map(draw, value)
        elif hasattr(value, "extend"):
            _damage_list(draw, field, value)
        elif field.message_type is not None:
            value.SetInParent()
        else:
            setattr(message, field.name, _odd_for(draw, field, value))
    except (ValueError, TypeError, OverflowError):
        message.ClearField(field.name)


def _damage_map(draw: random.Random, value: Any) -> None:
    keys = list(value)
    if keys and draw.random() < 0.5:
        del value[draw.choice(keys)]
    elif keys and hasattr(value, "get_or_create"):
        value.get_or_create("x").CopyFrom(value[draw.choice(keys)])
    elif keys:
        value[draw.choice(keys)] = draw.choice(_ODD_TEXTS)


def _damage_list(draw: random.Random, field: Any, value: Any) -> None:
    if not len(value):
        if field.message_type is not None:
            value.add()
        else:
            value.append(_odd_for(draw, field, 0))
        return
    at = draw.randrange(len(value))
    match draw.randrange(4):
        case 0:
            del value[at]
        case 1:
            for _ in range(draw.choice((1, 3, 200))):
                value.append(value[at])
        case 2:
            items = [value[i] for i in range(len(value))]
            draw.shuffle(items)
            copies = [item.__class__() for item in items] if field.message_type else items
            if field.message_type is not None:
                for copy, item in zip(copies, items, strict=True):
                    copy.CopyFrom(item)
            del value[:]
            value.extend(copies)
        case _ if field.message_type is None:
            value[at] = _odd_for(draw, field, value[at])


def _odd_for(draw: random.Random, field: Any, value: Any) -> Any:
    if field.type == field.TYPE_STRING:
        return draw.choice(_ODD_TEXTS)
    if field.type == field.TYPE_BYTES:
        return damage_bytes(draw, value) if isinstance(value, bytes) else draw.choice(_ODD_BYTES)
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return draw.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    if field.type == field.TYPE_BOOL:
        return not value
    narrow = field.type in (field.TYPE_INT32, field.TYPE_SINT32, field.TYPE_ENUM, field.TYPE_UINT32)
    number = draw.choice(_ODD_INTEGERS)
    return number % 2**31 if narrow else number % 2**63


def damage_safetensors(draw: random.Random, content: bytes) -> bytes:
    """Damage the JSON of the header, its length, or the bytes behind it."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + length], content[8 + length :]
    match draw.randrange(6):
        case 0:
            return struct.pack("<Q", draw.choice(_ODD_INTEGERS) % 2**64) + header + data
        case 1:
            data = damage_bytes(draw, data)
        case 2:
            fields = json.loads(header)
            tensor = fields[draw.choice([name for name in fields if name != "__metadata__"])]
            place = draw.choice(("shape", "data_offsets"))
            tensor[place] = [draw.choice(_ODD_INTEGERS) for _ in tensor[place]]
            header = json.dumps(fields).encode()
        case _:
            header = damage_json(draw, header)
    return struct.pack("<Q", len(header)) + header + data


_HEADERS = (
    "{'descr': '|O', 'fortran_order': False, 'shape': (6, 1, 32, 32), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (6, 1, 32, 32), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (600000000, 1, 32, 32), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-6, 1, 32, 32), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 1, 32), }",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }",
    "{'descr': '<V99999999', 'fortran_order': False, 'shape': (6,), }",
    "__import__('os').abort()", "(" * 5000, "{" * 200, "{'descr': 5}", "[]", "1" * 9000,
)  # fmt: skip


def damage_array(draw: random.Random, content: bytes) -> bytes:
    """Damage the header of NumPy's format, its length, its version, or the numbers behind it."""
    (length,) = struct.unpack_from("<H", content, 8)
    header, data = content[10 : 10 + length], content[10 + length :]
    match draw.randrange(5):
        case 0:
            header = draw.choice(_HEADERS).encode()
        case 1:
            header = damage_bytes(draw, header)
        case 2:
            data = damage_bytes(draw, data)
        case 3:
            version = bytes((draw.randrange(4), draw.randrange(3)))
            return content[:6] + version + content[8:]
        case _:
            return damage_bytes(draw, content)
    header = header[:65_535]
    return content[:8] + struct.pack("<H", len(header)) + header + data

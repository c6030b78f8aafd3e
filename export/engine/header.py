"""The header of a serialized engine: what built it, read without a GPU and without TensorRT."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgerep.errors import EngineError
from edgerep.outside.json_text import JsonError, parse_json
from edgerep.outside.regular import require_regular

# Bytes 0..3 are the tag, 4..7 the version of the serialization, 24..27 that of the library. The
# layout is that of NVIDIA's own reader, `trtexec --getPlanVersionOnly` (sampleEngines.cpp).
_TAGS = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
_HEADER_BYTES = 28
_KNOWN_SERIALIZATION = 0
_LARGEST_METADATA_BYTES = 1 << 20  # a longer prefix is not taken for ultralytics'


@dataclass(frozen=True, slots=True)
class Plan:
    """What the first bytes of an engine say.

    Attributes:
        runtime: "tensorrt" or "tensorrt-rtx".
        version: Of the library that built it, as major.minor.patch.build.
        size_bytes: Of the whole file.
        offset: Byte at which the plan, as TensorRT reads it, begins; not 0 behind metadata.
        metadata: The JSON that ultralytics puts before the plan; None in every other engine.
    """

    runtime: str
    version: str
    size_bytes: int
    offset: int = 0
    metadata: Mapping[str, Any] | None = None


def read_plan(path: str | Path) -> Plan:
    """Read the header of an engine.

    Raises:
        EngineError: The file cannot be read, is no engine, was cut short, or its header is of a
            kind that is not known.
    """
    path = Path(path)
    size = require_regular(path, EngineError)
    try:
        with path.open("rb") as file:
            metadata, offset = _metadata_before(file, size)
            file.seek(offset)
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror or error}") from error
    runtime = _TAGS.get(header[:4])
    if runtime is None:
        raise EngineError(
            f"{path} is no TensorRT engine: it begins with {header[:4]!r} instead of "
            f"{' or '.join(map(repr, _TAGS))}"
        )
    if len(header) < _HEADER_BYTES:
        raise EngineError(
            f"{path} was cut short: {len(header)} bytes are there of a header of {_HEADER_BYTES}; "
            f"build or copy it again"
        )
    (serialization,) = struct.unpack_from("<I", header, 4)
    if serialization != _KNOWN_SERIALIZATION:
        raise EngineError(
            f"{path} has serialization version {serialization}; this edgerep knows "
            f"{_KNOWN_SERIALIZATION}: update edgerep"
        )
    # Only TensorRT-RTX is known to keep the plan's length there.
    (length,) = struct.unpack_from("<Q", header, 16)
    if runtime == "tensorrt-rtx" and size - offset < length:
        raise EngineError(
            f"{path} was cut short: its header says {length} bytes, and {size - offset} are "
            f"there; build or copy it again"
        )
    return Plan(runtime, ".".join(map(str, header[24:28])), size, offset, metadata)


def _metadata_before(file: BinaryIO, size: int) -> tuple[Mapping[str, Any] | None, int]:
    """The JSON of ultralytics' prefix, behind its length in int32, and where the prefix ends."""
    first = file.read(5)
    if len(first) < 5 or first[:4] in _TAGS or first[4:] != b"{":
        return None, 0
    (length,) = struct.unpack("<i", first[:4])
    if not 2 <= length <= min(_LARGEST_METADATA_BYTES, size - 4):
        return None, 0
    try:
        metadata = parse_json(b"{" + file.read(length - 1))
    except JsonError:
        return None, 0
    return metadata, 4 + length

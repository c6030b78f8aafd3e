"""The header of a safetensors file, held to its declared shape before the file is loaded.

The format: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgerep.errors import EdgerepError
from edgerep.outside.json_text import JsonError, parse_json
from edgerep.outside.regular import MIB
from edgerep.outside.shapes import Each, Fields, ShapeError, Table, Text, Whole, require_shape

_LARGEST_HEADER = 32 * MIB  # of 200,000 tensors
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
_TENSOR = Fields(
    {
        "dtype": Text(16),
        "shape": Each(Whole(0), most=32),
        "data_offsets": Each(Whole(0), least=2, most=2),
    }
)
_HEADER = Table(_TENSOR)
_METADATA = Table(Text())


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file: its type as the format calls it ("F32"), shape and first byte."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def read_header(path: Path, error: type[EdgerepError]) -> dict[str, StoredTensor]:
    """The tensors of a file by name; one whose header does not fit its bytes is refused.

    Args:
        path: The file.
        error: What is raised.

    Raises:
        EdgerepError: As `error`: what is wrong, and with which tensor.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LARGEST_HEADER:
            raise error(f"{path}: its header has {length:,} bytes: it is no safetensors")
        text = file.read(length)
    room = path.stat().st_size - 8 - length
    try:
        header = parse_json(text)
        metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else {}
        require_shape(metadata, _METADATA)
        require_shape(header, _HEADER)
    except (JsonError, ShapeError) as failure:
        raise error(
            f"{path} is not a safetensors file, or it was cut short: its header: {failure}"
        ) from failure
    found: dict[str, StoredTensor] = {}
    for name, tensor in header.items():
        start, end = tensor["data_offsets"]
        bits = _BITS.get(tensor["dtype"])
        if bits is None:
            raise error(
                f"{path}: {name[:80]} is of type {tensor['dtype']}, which edgerep does not read"
            )
        if not start <= end <= room or (end - start) * 8 != math.prod(tensor["shape"]) * bits:
            raise error(
                f"{path} was cut short or damaged: {name[:80]}, {tensor['dtype']} "
                f"{tensor['shape']}, is not at bytes {start} to {end} of {room}"
            )
        found[name] = StoredTensor(tensor["dtype"], tuple(tensor["shape"]), 8 + length + start)
    return found

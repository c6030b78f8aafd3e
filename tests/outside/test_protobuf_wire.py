"""Messages are counted before they are made."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgerep.errors import OnnxError
from edgerep.export.graph.onnx_file import read_model
from edgerep.outside.protobuf_wire import require_few_messages


def length(count: int) -> bytes:
    """A length as protobuf writes it."""
    written = bytearray()
    while count > 127:
        written.append(count & 127 | 128)
        count >>= 7
    return bytes([*written, count])


def graph_of(nodes: int) -> bytes:
    """A model whose graph has so many nodes without a field."""
    graph = b"\x0a\x00" * nodes
    return b"\x3a" + length(len(graph)) + graph


def test_a_file_of_millions_of_empty_nodes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.write_bytes(graph_of(5_000_000))
    with pytest.raises(OnnxError, match=r"empty\.onnx.*messages"):
        read_model(path)


def test_what_is_counted_is_what_is_parsed() -> None:
    assert len(onnx.ModelProto.FromString(graph_of(1000)).graph.node) == 1000
    require_few_messages(graph_of(1000), onnx.ModelProto)


def test_weights_are_passed_over_and_damage_is_left_to_the_parser() -> None:
    tensor = onnx.TensorProto(raw_data=b"\x0a\x00" * 8_000_000)
    model = onnx.ModelProto()
    model.graph.initializer.append(tensor)
    content = model.SerializeToString()
    require_few_messages(content, onnx.ModelProto)
    require_few_messages(content[:-5], onnx.ModelProto)
    require_few_messages(b"\xff" * (9 << 20), onnx.ModelProto)
    require_few_messages(b"\x3b" + bytes(9 << 20), onnx.ModelProto)

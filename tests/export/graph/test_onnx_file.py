"""Reading ONNX files: what they say of themselves, and every reason not to trust one."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.tensors import TensorSpec
from edgerep.errors import OnnxError
from edgerep.export.graph.onnx_file import (
    METADATA_KEY,
    Graph,
    open_graph,
    precision_of,
    read_model,
    set_metadata_in_place,
)

NOTE = {"form": "fused", "batch": [1, 2, 4], "made_from": [{"kind": "checkpoint", "name": "a.pth"}],
        "options": {"precision": "fp32"}}  # fmt: skip


def model_of(declared: str = "float[N, 4] x", dtype: str = "float") -> onnx.ModelProto:
    return parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g ({declared}) => ({dtype}[N, 4] y) <{dtype}[4] w = {{1, 2, 3, 4}}> {{
            r = Mul(x, w)
            s = Mul(r, w)
            y = Identity(s)
        }}""")


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "a.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def outside(model: onnx.ModelProto, **info: str) -> onnx.ModelProto:
    """The model with its weights said to lie in another file."""
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in info.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_a_file_of_somebody_else_says_what_its_types_and_shapes_do(tmp_path: Path) -> None:
    path = saved(model_of(), tmp_path)
    assert open_graph(path) == Graph(
        path=path,
        sha256=sha256_of(path),
        precision="fp32",
        form="unknown",
        batch=BatchProfile(1, 1, 1),
        inputs=(TensorSpec("x", "float32", (None, 4)),),
        outputs=(TensorSpec("y", "float32", (None, 4)),),
        made_from=(),
        options={},
        opset=18,
        operators={"Mul": 2, "Identity": 1},
    )


@pytest.mark.parametrize(("size", "shape", "batch"), [
    ("3", (3, 4), 3), ("N", (None, 4), 1), ("-1", (None, 4), 1), ("0", (None, 4), 1),
])  # fmt: skip
def test_the_batch_is_that_of_the_first_dimension(
    size: str, shape: tuple[int | None, ...], batch: int, tmp_path: Path
) -> None:
    model = model_of()
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    if size != "N":
        first.Clear()
        first.dim_value = int(size)
        del model.graph.output[0].type.tensor_type.shape.dim[:]
    graph = open_graph(saved(model, tmp_path))
    assert graph.inputs[0].shape == shape
    assert graph.batch == BatchProfile(batch, batch, batch)
    assert graph.inputs[0].concrete(7) == ((7 if shape[0] is None else shape[0]), 4)


def test_weights_that_are_listed_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    graph = open_graph(saved(model_of("float[N, 4] x, float[4] w"), tmp_path))
    assert [spec.name for spec in graph.inputs] == ["x"]


def test_provenance_comes_back_and_replaces_only_what_edgerep_wrote(tmp_path: Path) -> None:
    model = model_of()
    model.metadata_props.add(key="author", value="somebody")
    set_metadata_in_place(model, {"form": "unfused"})
    set_metadata_in_place(model, NOTE)
    assert [prop.key for prop in model.metadata_props] == ["author", METADATA_KEY]
    path = saved(model, tmp_path)
    graph = open_graph(path)
    assert (graph.form, graph.batch) == ("fused", BatchProfile(1, 2, 4))
    assert graph.lineage == (
        {"kind": "onnx", "name": "a.onnx", "sha256": sha256_of(path), "form": "fused",
         "options": NOTE["options"]},
        *NOTE["made_from"],
    )  # fmt: skip


@pytest.mark.parametrize("text", [
    "", "no JSON", "[]", "3", "{}",
    json.dumps({**NOTE, "batch": [1, 2]}), json.dumps({**NOTE, "batch": [4, 2, 1]}),
    json.dumps({**NOTE, "batch": ["a", 2, 3]}), json.dumps({**NOTE, "made_from": [3]}),
    json.dumps({**NOTE, "options": None}),
])  # fmt: skip
def test_provenance_that_edgerep_did_not_write_is_refused(text: str, tmp_path: Path) -> None:
    model = model_of()
    model.metadata_props.add(key=METADATA_KEY, value=text)
    with pytest.raises(OnnxError, match=r"metadata `edgerep` is not what edgerep writes"):
        open_graph(saved(model, tmp_path))


@pytest.mark.parametrize(("declared", "says"), [
    ("double[N, 4] x", "`x` has element type DOUBLE"),
    ("float[N, C] x", r"`x` has dynamic dimensions besides the batch, \(None, None\)"),
])  # fmt: skip
def test_inputs_that_cannot_be_served_are_named(declared: str, says: str, tmp_path: Path) -> None:
    dtype = declared.split("[")[0]
    with pytest.raises(OnnxError, match=rf"a\.onnx: {says}"):
        open_graph(saved(model_of(declared, dtype), tmp_path))


def test_an_element_type_that_onnx_does_not_have_is_refused_by_its_number(tmp_path: Path) -> None:
    model = model_of()
    model.graph.output[0].type.tensor_type.elem_type = 110
    with pytest.raises(OnnxError, match="`y` has element type number 110, which is not supported"):
        open_graph(saved(model, tmp_path))


def test_precision_is_that_of_most_weights_that_are_read() -> None:
    model = model_of()
    assert precision_of(model) == "fp32"
    for size, wanted in ((4, "fp32"), (5, "fp16")):  # four numbers are float32
        tensor = numpy_helper.from_array(np.zeros(size, np.float16), "h")
        for made in (False, True):
            model = model_of()
            if made:
                model.graph.node.insert(0, helper.make_node("Constant", [], ["h"], value=tensor))
            else:
                model.graph.initializer.append(tensor)
            assert precision_of(model) == "fp32"  # nothing reads it
            model.graph.node.append(helper.make_node("Identity", ["h"], ["g"]))
            assert precision_of(model) == wanted
    model.graph.node.append(helper.make_node("DequantizeLinear", ["q", "s"], ["d"]))
    assert precision_of(model) == "int8-weights"
    model.graph.node.append(helper.make_node("QuantizeLinear", ["d", "s"], ["e"]))
    assert precision_of(model) == "int8"


def test_missing_files_and_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=r"cannot read .*No such file"):
        read_model(tmp_path / "none.onnx")
    with pytest.raises(OnnxError, match="cannot read"):
        read_model(tmp_path)
    for content in (b"", b"PK\x03\x04 something else", bytes(range(256))):
        (tmp_path / "b.onnx").write_bytes(content)
        with pytest.raises(OnnxError, match="is not an ONNX file"):
            read_model(tmp_path / "b.onnx")


def test_a_graph_that_reads_what_nobody_makes_is_not_valid(tmp_path: Path) -> None:
    model = model_of()
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(OnnxError, match=r"a\.onnx is not a valid ONNX model: .*nowhere"):
        read_model(saved(model, tmp_path))


def test_weights_in_another_file_beside_it_are_read(tmp_path: Path) -> None:
    weights = np.array([5, 6, 7, 8], np.float32)
    (tmp_path / "w.bin").write_bytes(bytes(4) + weights.tobytes())
    model = outside(model_of(), location="w.bin", offset="4", length="16")
    read = read_model(saved(model, tmp_path))
    assert (numpy_helper.to_array(read.graph.initializer[0]) == weights).all()


@pytest.mark.parametrize(("info", "says"), [
    ({"location": "none.bin"}, "w: none.bin is missing"),
    ({"location": "w.bin", "offset": "8", "length": "16"}, "w: w.bin is too short"),
    ({"location": "w.bin", "length": "17"}, "w: w.bin is too short"),
    ({"location": "../w.bin"}, "w: ../w.bin lies outside the model's folder"),
    ({"location": "/etc/hostname"}, "w: /etc/hostname lies outside the model's folder"),
    ({"location": "link.bin"}, "w: link.bin lies outside the model's folder"),
    ({"location": "w.bin", "offset": "many"}, "w: .*many"),
    ({"location": "w.bin", "offset": "-4", "length": "16"}, "offset must be non-negative, got -4"),
    ({}, "w:  is missing"),
])  # fmt: skip
def test_weights_elsewhere_that_cannot_be_used(
    info: dict[str, str], says: str, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "w.bin").write_bytes(bytes(16))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(OnnxError, match=says):
        read_model(saved(outside(model_of(), **info), folder))


def test_a_name_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(bytes(16))
    model = outside(model_of(), location="w.data", offset="0", length="16")
    name = model.graph.initializer[0].name.encode()
    content = model.SerializeToString().replace(name, b"\xff" * len(name))
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxError, match="its name is not in UTF-8"):
        open_graph(path)


def test_every_missing_file_is_named_up_to_ten(tmp_path: Path) -> None:
    model = outside(model_of(), location="none.bin")
    for index in range(11):
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(model.graph.initializer[0])
        tensor.name = f"w{index}"
    with pytest.raises(OnnxError) as refusal:
        read_model(saved(model, tmp_path))
    said = str(refusal.value)
    assert said.count("none.bin is missing") == 10
    assert "and 2 more" in said


CONTENT = model_of().SerializeToString()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_a_graph_or_refused_and_nothing_else(data: Any, tmp_path: Path) -> None:
    content = bytearray(CONTENT)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with contextlib.suppress(OnnxError):
        assert open_graph(path).operators


def test_weights_that_lie_over_each_other_in_another_file_are_not_loaded(tmp_path: Path) -> None:
    """Each tensor asks for the whole file: of a small one, many would take any memory."""
    model = outside(model_of(), location="a.data", length=str(1 << 20))
    for index in range(100):
        copy = model.graph.initializer.add()
        copy.CopyFrom(model.graph.initializer[0])
        copy.name = f"w{index}"
    (tmp_path / "a.data").write_bytes(bytes(1 << 20))
    with pytest.raises(OnnxError, match=r"a\.onnx takes 105,906,176 bytes .* over each other"):
        read_model(saved(model, tmp_path))


def test_weights_behind_a_link_or_a_pipe_are_not_loaded(tmp_path: Path) -> None:
    path = saved(outside(model_of(), location="a.data", length="16"), tmp_path)
    (tmp_path / "real").write_bytes(bytes(16))
    (tmp_path / "a.data").symlink_to("real")
    with pytest.raises(OnnxError, match=r"a\.data is a link"):
        read_model(path)
    (tmp_path / "a.data").unlink()
    os.mkfifo(tmp_path / "a.data")
    with pytest.raises(OnnxError, match=r"a\.data is missing"):
        read_model(path)

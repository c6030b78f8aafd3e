"""A second ONNX file from a first: in float16, with preprocessing, and honest about both."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, parser

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.files import sha256_of
from edgerep.artefacts.records import read_record
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.data.preprocessing import NO_PREPROCESSING, Preprocessing
from edgerep.errors import OptionError, OutputError
from edgerep.export.graph.onnx_file import Graph, open_graph
from edgerep.export.graph.writing import write_graph
from edgerep.export.precision.adaptation import adapt_onnx
from zoo.quantised import Form, a_few_images, a_float_graph, quantised, saved

PIXELS = Preprocessing("uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WEIGHT = np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32)
SOURCE = {"kind": "checkpoint", "name": "a.pth", "sha256": "0" * 64}


def model_of(weight: np.ndarray = WEIGHT) -> onnx.ModelProto:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[N, 3, 5, 6] x) => (float[N, 2, 5, 6] y) {
            y = Conv <pads = [1, 1, 1, 1]> (x, w)
        }""")
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return model


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return write_graph(
        model_of(), tmp_path / "a.onnx", form="fused", batch=BatchProfile(1, 2, 4),
        made_from=[SOURCE],
        options={"precision": "fp32", "preprocessing": asdict(NO_PREPROCESSING)},
    )  # fmt: skip


@pytest.fixture
def foreign(tmp_path: Path) -> Graph:
    """A file that edgerep did not write."""
    onnx.save(model_of(), tmp_path / "foreign.onnx")
    return open_graph(tmp_path / "foreign.onnx")


def weight_of(graph: Graph) -> np.ndarray[Any, Any]:
    return numpy_helper.to_array(onnx.load(graph.path).graph.initializer[0])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("preprocessing", [NO_PREPROCESSING, PIXELS])
def test_an_adapted_file_has_what_was_asked_for_and_knows_where_it_comes_from(
    precision: str, preprocessing: Preprocessing, graph: Graph, tmp_path: Path
) -> None:
    made = adapt_onnx(graph, tmp_path / "b.onnx", precision=precision, preprocessing=preprocessing)
    assert made.precision == precision
    assert made.inputs[0].dtype == preprocessing.dtype
    assert made.options["precision"] == precision
    assert made.options["preprocessing"] == json.loads(json.dumps(asdict(preprocessing)))
    assert (made.form, made.batch) == (graph.form, graph.batch)
    assert [entry["sha256"] for entry in made.made_from] == [graph.sha256, "0" * 64]
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 5, 6)).astype(made.inputs[0].dtype)
    with OnnxRuntimeSession(made.path) as session:
        (found,) = session.run(images)
    wanted = torch.nn.functional.conv2d(
        torch.from_numpy(preprocessing.apply(images)), torch.from_numpy(WEIGHT).double(), padding=1
    ).numpy()
    assert found.dtype == np.float32
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert error < {"fp32": 1e-6, "fp16": 2e-3}[precision]


def test_the_factor_is_folded_before_the_weights_are_rounded(graph: Graph, tmp_path: Path) -> None:
    made = adapt_onnx(graph, tmp_path / "b.onnx", precision="fp16", preprocessing=PIXELS)
    factor = PIXELS.factor(3).reshape(1, -1, 1, 1)
    once = (WEIGHT.astype(np.float64) * factor).astype(np.float32).astype(np.float16)
    assert weight_of(made).tobytes() == once.tobytes()


def test_a_file_of_somebody_else_can_be_adapted(foreign: Graph, tmp_path: Path) -> None:
    made = adapt_onnx(foreign, tmp_path / "b.onnx", precision="fp16", preprocessing=PIXELS)
    assert (made.precision, made.form) == ("fp16", "unknown")
    assert [entry["name"] for entry in made.made_from] == ["foreign.onnx"]
    assert foreign.sha256 == sha256_of(foreign.path)


def test_preprocessing_goes_in_front_of_a_float16_graph_with_its_weights_as_they_are(
    graph: Graph, tmp_path: Path
) -> None:
    half = adapt_onnx(graph, tmp_path / "h.onnx", precision="fp16")
    made = adapt_onnx(half, tmp_path / "b.onnx", precision="fp16", preprocessing=PIXELS)
    assert weight_of(made).tobytes() == WEIGHT.astype(np.float16).tobytes()
    assert made.operators == {"Cast": 3, "Sub": 1, "Mul": 1, "Conv": 1}
    assert len(made.made_from) == 3


def test_what_cannot_be_made_is_refused_and_nothing_written(graph: Graph, tmp_path: Path) -> None:
    half = adapt_onnx(graph, tmp_path / "h.onnx", precision="fp16")
    pixels = adapt_onnx(graph, tmp_path / "p.onnx", preprocessing=PIXELS)
    path = tmp_path / "b.onnx"
    with pytest.raises(OptionError, match="'int4' is not one of"):
        adapt_onnx(graph, path, precision="int4")
    with pytest.raises(OptionError, match=r"h\.onnx is fp16 already; fp32 can only"):
        adapt_onnx(half, path, precision="fp32")
    with pytest.raises(OptionError, match=r"p\.onnx was exported with preprocessing"):
        adapt_onnx(pixels, path, preprocessing=PIXELS)
    assert not path.exists()
    assert read_record(path) is None


def test_a_path_that_cannot_be_written(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is a folder"):
        adapt_onnx(graph, tmp_path)
    with pytest.raises(OutputError, match="cannot create"):
        adapt_onnx(graph, graph.path / "b.onnx")


def test_a_quantised_file_takes_preprocessing_another_batch_and_repairs(tmp_path: Path) -> None:
    images = a_few_images()
    model = quantised(a_float_graph(), images, Form(bias="int32", activations="uint8-128"))
    graph = open_graph(saved(tmp_path / "q.onnx", model))
    made = adapt_onnx(
        graph, tmp_path / "p.onnx", precision="int8", preprocessing=PIXELS,
        batch=BatchProfile(1, 1, 2), repair=True,
    )  # fmt: skip
    assert (made.precision, made.batch, made.inputs[0].dtype) == (
        "int8",
        BatchProfile(1, 1, 2),
        "uint8",
    )
    assert [words.split(" ")[0] for words in made.options["repaired"]] == ["int32", "uint8"]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 6, 5), np.uint8)
    with OnnxRuntimeSession(made.path, optimization="disabled") as session:
        (found,) = session.run(pixels)
    with OnnxRuntimeSession(graph.path, optimization="disabled") as session:
        (wanted,) = session.run(PIXELS.apply(pixels).astype(np.float32))
    # A pixel halfway between two steps may fall to either: rounding differs before the first pair.
    assert np.abs(found - wanted).max() <= 0.02 * np.abs(wanted).max()
    with pytest.raises(OptionError, match="is int8 already; fp16 can only be made from fp32"):
        adapt_onnx(graph, tmp_path / "h.onnx", precision="fp16")

"""An ONNX file evaluated in exact arithmetic, as the reference of those who have no checkpoint."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import edgerep
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import EdgerepError, OnnxError, OptionError
from edgerep.export.graph.onnx_file import Graph
from edgerep.networks.repvgg import RepVGG, random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

SMALL = Architecture(3, 16, (16, 32), (2, 2), (1, 4, 2, 1, 2), squeeze=True, classes=5)
PIXELS = Preprocessing("uint8", (0.5,), (0.25,))


@pytest.fixture(scope="module")
def model() -> RepVGG:
    return random_repvgg(SMALL)


@pytest.fixture(scope="module")
def graph(model: RepVGG, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("reference") / "small.onnx"
    return edgerep.export_onnx(model, path, size=33, batch=(1, 2, 4), preprocessing=PIXELS)


def images(count: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 33, 33), dtype=np.uint8)


def test_the_file_in_float64_is_its_float32_weights_in_exact_arithmetic(
    model: RepVGG, graph: Graph
) -> None:
    """Its weights are the network's, its first convolution's scaled by 1 / std and rounded."""
    pixels = images()
    (found,) = OnnxReference(graph.path).outputs64([pixels], PIXELS)
    with torch.no_grad():
        truth = copy.deepcopy(model).double()(torch.from_numpy(PIXELS.apply(pixels))).numpy()
    assert found.dtype == np.float64
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    assert 0 < error < 1e-6  # float32 weights; arithmetic in float32 would show above 1e-7 too
    (narrow,) = OnnxReference(graph.path).outputs32([pixels], PIXELS)
    assert narrow.dtype == np.float32
    own = np.linalg.norm(narrow - found) / np.linalg.norm(found)
    assert 1e-8 < own < 1e-5


def test_what_was_made_from_a_file_agrees_with_it_and_a_changed_one_does_not(
    graph: Graph, tmp_path: Path
) -> None:
    half = edgerep.export_onnx(random_repvgg(SMALL, seed=1), tmp_path / "other.onnx", size=33)
    assert edgerep.verify(graph.path, [graph.path]).passed
    report = edgerep.verify(graph, [graph])
    assert report.reference_kind == "onnx"
    assert report.to_json()["reference_kind"] == "onnx"
    with pytest.raises(EdgerepError, match="preprocessing"):
        edgerep.verify(graph.path, [half])
    changed = onnx.load(graph.path)
    weight = next(t for t in changed.graph.initializer if t.name.endswith("linear.weight"))
    values = numpy_helper.to_array(weight).copy()
    values[[0, 1]] = values[[1, 0]]
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(changed, tmp_path / "changed.onnx")
    assert not edgerep.verify(graph.path, [tmp_path / "changed.onnx"]).passed


def test_eps_of_a_checkpoint_makes_no_sense_with_a_file(graph: Graph) -> None:
    with pytest.raises(OptionError, match="states its own BatchNorm eps"):
        edgerep.verify(graph.path, [graph.path], bn_eps=1e-3)


def rounding(nodes: list[onnx.NodeProto], path: Path) -> Path:
    shape = [1, 2, 4, 4]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    scale = [numpy_helper.from_array(np.array(0.1, np.float32), "s")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], scale)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_quantised_files_round_in_float64_where_they_say_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    reference = OnnxReference(rounding(nodes, tmp_path / "q.onnx"))
    assert reference.precision == "int8"
    x = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
    (found,) = reference.outputs64([x])
    scale = np.float64(np.float32(0.1))
    assert np.array_equal(found, np.clip(np.rint(x / scale), 0, 255) * scale)


def test_a_file_whose_scales_depend_on_its_input_is_no_reference(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "t", "z"]),
        helper.make_node("DequantizeLinear", ["q", "t", "z"], ["y"]),
    ]
    path = rounding(nodes, tmp_path / "q.onnx")
    with pytest.raises(OnnxError, match="DynamicQuantizeLinear has no exact answers"):
        OnnxReference(path)


@pytest.mark.parametrize("padded", [True, False])
def test_pools_and_convolutions_by_torch_are_those_of_the_evaluator(
    padded: bool, tmp_path: Path
) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2, groups=1),
        nn.MaxPool2d(3, 2, padding=1),
        nn.AvgPool2d(2, padding=1, count_include_pad=padded),
        nn.Flatten(),
        nn.Linear(4 * 5 * 5, 3),
    ).eval()
    made = edgerep.export_onnx(network, tmp_path / "pools.onnx", size=33)
    x = np.random.default_rng(1).standard_normal((2, 3, 33, 33)).astype(np.float32)
    (found,) = OnnxReference(made.path).outputs64([x])
    with torch.no_grad():
        truth = network.double()(torch.from_numpy(x).double()).numpy()
    assert np.abs(found - truth).max() < 1e-12


def test_an_engine_built_from_a_file_is_compared_with_that_file(
    graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgerep.cli import main

    shutil.copy(graph.path, tmp_path / "given.onnx")
    with pytest.raises(SystemExit) as stop:
        main(["build-engine", str(tmp_path / "given.onnx"), "-o", str(tmp_path / "g.engine"),
              "--runtime", "tensorrt-rtx", "--precision", "fp16"])  # fmt: skip
    said = capsys.readouterr().err
    assert stop.value.code == 0, said
    assert "compared with the ONNX file given.onnx in float64" in said


def test_a_reference_that_onnx_runtime_contradicts_is_refused(tmp_path: Path) -> None:
    # Output pixel 5 is made from exactly pixel 2, or from one just below: 5.5 / 2.2 - 0.5.
    scales = numpy_helper.from_array(np.array([1, 1, 1, 2.2], np.float32), "scales")
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], nearest_mode="floor", mode="nearest",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 5])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, 4, 11])
    graph = helper.make_graph([node], "g", [source], [result], [scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    path = tmp_path / "resize.onnx"
    onnx.save(model, path)
    images = np.random.default_rng(0).standard_normal((2, 1, 4, 5)).astype(np.float32)
    with pytest.raises(OnnxError, match=r"the reference resize\.onnx failed"):
        OnnxReference(path).answers([images])


class Stereo(nn.Module):
    """Two images in; boxes in the thousands, scores near a thousandth, and a class out."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
        self.boxes, self.scores = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, 1)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, ...]:
        y = torch.relu(self.left(left) + self.right(right))
        scores = self.scores(y) / 1000
        return 1000 * self.boxes(y), scores, scores.mean((2, 3)).argmax(1)


@pytest.mark.parametrize("batch", [2, (1, 2, 3)], ids=["fixed", "open"])
def test_a_file_of_several_inputs_and_outputs_is_a_reference(batch: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shapes = [(3, 8, 6), (1, 8, 6)]
    graph = edgerep.export_onnx(
        Stereo().eval(), tmp_path / "a.onnx", input_shapes=shapes, batch=batch
    )
    edgerep.verify(graph.path, [graph]).require()
    for layer, wrong in (("right.weight", [0, 1]), ("boxes.weight", [0]), ("scores.weight", [1])):
        model = onnx.load(graph.path)
        tensor = next(t for t in model.graph.initializer if t.name == layer)
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] *= 1.01
        tensor.CopyFrom(numpy_helper.from_array(values, layer))
        onnx.save(model, tmp_path / "b.onnx")
        (found,) = edgerep.verify(graph.path, [tmp_path / "b.onnx"]).artefacts
        assert [at for at, output in enumerate(found.outputs) if not output.passed] == wrong


def test_a_file_with_another_number_of_inputs_is_not_what_it_was_made_from(
    graph: Graph, tmp_path: Path
) -> None:
    other = edgerep.export_onnx(
        Stereo().eval(), tmp_path / "a.onnx", input_shapes=[(3, 8, 6), (1, 8, 6)]
    )
    with pytest.raises(EdgerepError, match=r"a\.onnx takes 2 inputs and the artefact 1"):
        edgerep.verify(other.path, [graph])

"""Parity of networks with several inputs and outputs: each probed, each on its own scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import edgerep
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.report.html.page import render_html
from edgerep.bench.report.text.parity import one_line, parity_table
from edgerep.data.probes import RANDOM_SAMPLES, make_probes
from edgerep.errors import DataError, EdgerepError, NetworkError, OptionError, ParityError
from edgerep.export.graph.onnx_file import Graph


class Detector(nn.Module):
    """Two images in; boxes in the thousands, scores near one thousandth, and a class number out."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
        self.boxes, self.scores = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, 1)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Any]:
        y = torch.relu(self.left(left) + self.right(right))
        scores = self.scores(y) / 1000
        label = scores.mean((2, 3)).argmax(1)
        return {"boxes": [1000 * self.boxes(y)], "found": (scores, label)}


SHAPES = [(3, 8, 6), (1, 8, 6)]


@pytest.fixture(scope="module")
def network() -> Detector:
    torch.manual_seed(0)
    return Detector().eval()


@pytest.fixture(scope="module")
def graph(network: Detector, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("detector") / "a.onnx"
    return edgerep.export_onnx(network, path, input_shapes=SHAPES, batch=(1, 2, 3))


def planted(graph: Graph, path: Path, name: str, error: float) -> Path:
    """The graph with one weight of a layer off by a factor."""
    model = onnx.load(graph.path)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] *= 1 + error
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return path


def test_every_output_is_held_to_its_own_scale(network: Detector, graph: Graph) -> None:
    (result,) = edgerep.verify(network, [graph]).artefacts
    assert result.passed
    assert [output.name for output in result.outputs] == ["output_0", "output_1", "output_2"]
    boxes, scores, label = (output.tolerance for output in result.outputs)
    assert boxes.max_abs > 1e4 * scores.max_abs
    assert (label.rel_l2, label.max_abs) == (0, 0)
    assert result.probes == {"random": RANDOM_SAMPLES, "edge": 12, "picture": 54}
    assert result.worst is not None
    assert result.tolerance == result.worst.tolerance
    fields = result.to_json()
    assert [output["name"] for output in fields["outputs"]] == ["output_0", "output_1", "output_2"]
    assert [batch["batch"] for batch in fields["outputs"][1]["batches"]] == [1, 2, 3]
    page = render_html({"title": "detector", "verify": {"reference": "", "artefacts": [fields]}})
    assert page.count("a.onnx: output_1") == 3


@pytest.mark.parametrize(("layer", "output"), [
    ("boxes.weight", "output_0"), ("scores.weight", "output_1"),
])  # fmt: skip
def test_a_fault_in_one_output_is_found_and_named(
    layer: str, output: str, network: Detector, graph: Graph, tmp_path: Path
) -> None:
    report = edgerep.verify(network, [planted(graph, tmp_path / "b.onnx", layer, 1e-3)])
    (result,) = report.artefacts
    assert not result.passed
    assert [one.name for one in result.outputs if not one.passed] == [output]
    assert result.worst is not None
    assert result.worst.name == output
    assert not any(batch.passed for batch in result.batches)
    assert output in one_line(result)
    assert f"b.onnx: {output}" in parity_table(report)
    with pytest.raises(ParityError, match=rf"b\.onnx, {output}, batch"):
        report.require()


def test_an_artefact_that_draws_random_numbers_is_refused(
    network: Detector, graph: Graph, tmp_path: Path
) -> None:
    """Also where the noise is below the tolerance."""
    model = onnx.load(graph.path)
    output = model.graph.output[0].name
    last = next(node for node in model.graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "quiet"
    model.graph.node.extend(
        [
            helper.make_node("RandomNormalLike", ["quiet"], ["noise"], scale=1e-9),
            helper.make_node("Add", ["quiet", "noise"], [output]),
        ]
    )
    onnx.save(model, tmp_path / "b.onnx")
    with pytest.raises(EdgerepError, match=r"b\.onnx draws random numbers \(RandomNormalLike\)"):
        edgerep.verify(network, [tmp_path / "b.onnx"])


def test_a_size_that_an_artefact_is_not_made_for_is_refused(
    network: Detector, tmp_path: Path
) -> None:
    closed = edgerep.export_onnx(network, tmp_path / "a.onnx", input_shapes=SHAPES, batch=2)
    with pytest.raises(OptionError, match="is made for a batch of 2, and cannot be compared at 3"):
        edgerep.verify(network, [closed], batch=[2, 3])


@pytest.mark.parametrize("layer", ["left.weight", "right.weight"])
def test_a_fault_behind_either_input_is_found(
    layer: str, network: Detector, graph: Graph, tmp_path: Path
) -> None:
    report = edgerep.verify(network, [planted(graph, tmp_path / "b.onnx", layer, 1e-2)])
    assert not report.passed


def test_integers_must_be_equal(graph: Graph, tmp_path: Path) -> None:
    class Shifted(Detector):
        def forward(self, left: Tensor, right: Tensor) -> dict[str, Any]:
            answer = super().forward(left, right)
            scores, label = answer["found"]
            return {**answer, "found": (scores, (label + 1) % 6)}

    torch.manual_seed(0)
    (result,) = edgerep.verify(Shifted().eval(), [graph]).artefacts
    assert [output.passed for output in result.outputs] == [True, True, False]


def test_another_network_is_refused_by_its_outputs(graph: Graph) -> None:
    class Fewer(Detector):
        def forward(self, left: Tensor, right: Tensor) -> dict[str, Any]:
            return {"boxes": super().forward(left, right)["boxes"]}

    with pytest.raises(EdgerepError, match="not made from this network"):
        edgerep.verify(Fewer().eval(), [graph])


def test_outputs_without_the_batch_first_are_refused() -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x.mT

    with pytest.raises(NetworkError, match=r"without the batch first.*output 1 is \[3, 5\]"):
        Reference(Turned().eval()).outputs64([np.zeros((5, 3), np.float32)])


def test_a_network_that_fails_says_on_what(graph: Graph) -> None:
    with pytest.raises(
        NetworkError, match=r"does not run on inputs \[2, 3, 8, 6\], \[2, 1, 8, 6\]"
    ):
        edgerep.verify(nn.Conv2d(3, 4, 1).eval(), [graph])


def test_each_input_has_its_edge_cases_while_the_others_are_random() -> None:
    specs = (
        TensorSpec("image", "uint8", (None, 3, 4, 5)),
        TensorSpec("vector", "float32", (None, 7)),
        TensorSpec("numbers", "int64", (None, 2, 3)),
    )
    probes = make_probes(specs, seed=1)
    image, vector, numbers = probes.inputs
    assert [array.shape[1:] for array in probes.inputs] == [(3, 4, 5), (7,), (2, 3)]
    assert [str(array.dtype) for array in probes.inputs] == ["uint8", "float32", "int64"]
    assert probes.describe() == {"random": 4, "edge": 18, "picture": 54}
    assert (image[4] == 0).all()
    assert (image[5] == 255).all()
    assert (vector[10] == -1).all()
    assert (vector[11] == 1).all()
    assert (vector[12] == [1, -1, -1, -1, -1, -1, -1]).all()
    assert set(np.unique(numbers)) == {0, 1}
    assert len(np.unique(vector[4:10])) == 42  # random where the image has its edge cases


def test_images_of_ones_own_need_a_single_input(network: Detector, graph: Graph) -> None:
    images = np.zeros((1, 3, 8, 6), np.float32)
    with pytest.raises(DataError, match="left, right"):
        edgerep.verify(network, [graph], calibration=images)


def test_networks_of_several_inputs_are_timed(network: Detector, graph: Graph) -> None:
    result = edgerep.run_bench(
        [network, graph], batch=[2], input_shapes=SHAPES, rounds=6, memory=False,
        warmup_seconds=0.01, min_round_seconds=0.001,
    )  # fmt: skip
    assert {(case.backend, case.batch) for case in result.cases} == {
        ("torch", 2), ("onnxruntime", 2),
    }  # fmt: skip
    assert not result.not_run


class Relative(nn.Module):
    """Answers that hang on the largest number of the whole batch, which one sample holds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) * x.abs().max()
        return y


@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_mixes_samples_agrees_at_batch_1_whichever_sample_leads(
    seed: int, tmp_path: Path
) -> None:
    torch.manual_seed(seed)
    network = Relative().eval()
    graph = edgerep.export_onnx(network, tmp_path / "a.onnx", size=8)
    edgerep.verify(network, [graph], seed=seed).require()
    wider = edgerep.export_onnx(network, tmp_path / "b.onnx", size=8, batch=2)
    with pytest.raises(NetworkError, match="mixes the samples"):
        edgerep.verify(network, [wider], seed=seed)

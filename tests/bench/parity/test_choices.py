"""Networks that choose: ties may fall either way, and every real fault is still found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import edgerep
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.references.choices import Choice
from edgerep.bench.parity.references.deciding import Deciding
from edgerep.bench.report.text.parity import parity_table
from edgerep.bench.sessions import runnables
from edgerep.errors import EdgerepError
from edgerep.networks.interface import flat_outputs


class Queries(nn.Module):
    """The best 10 of 64 places by their best score; their scores and their boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, stride=4, padding=1), nn.BatchNorm2d(16)
        self.score, self.box = nn.Conv2d(16, 5, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.bn(self.conv(x)).relu()
        scores = self.score(x).flatten(2).transpose(1, 2)
        place = torch.arange(64, dtype=x.dtype)
        boxes = 100 * self.box(x).flatten(2).transpose(1, 2).sigmoid() + place.reshape(1, -1, 1)
        best = scores.max(-1).values.topk(10, dim=1).indices.unsqueeze(-1)
        return scores.gather(1, best.expand(-1, -1, 5)), boxes.gather(1, best.expand(-1, -1, 4))


class Labels(nn.Module):
    """The class of every pixel; two of its classes tie wherever the image is flat."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1, bias=False)
        with torch.no_grad():  # Two classes that differ by rounding alone, summed in other orders
            self.head.weight[1] = self.head.weight[0].flip(0)
            self.conv.weight[:4] = self.conv.weight[4:].flip(0)
            self.conv.bias[:4] = self.conv.bias[4:].flip(0)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.conv(x).relu())
        return scores.argmax(1)


class Sorted(nn.Module):
    """All features in order, and where each stood; half of them tie where an image is grey."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 3, stride=2, bias=False)
        with torch.no_grad():
            self.conv.weight[12:] = self.conv.weight[:12].flip(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, places = self.conv(x).mean((2, 3)).sort(dim=1, descending=True)
        return values, places


NETWORKS: dict[str, type[nn.Module]] = {"queries": Queries, "labels": Labels, "sorted": Sorted}
SIZE = 32


@pytest.fixture(scope="module", params=list(NETWORKS))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def network(name: str) -> nn.Module:
    torch.manual_seed(3)
    return NETWORKS[name]().eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    folder = tmp_path_factory.mktemp("choices")

    def file(name: str, precision: str) -> Path:
        path = folder / f"{name}.{precision}.onnx"
        if not path.exists():
            edgerep.export_onnx(
                network(name), path, precision=precision, batch=(1, 2, 4),
                input_shapes=[(3, SIZE, SIZE)],
            )  # fmt: skip
        return path

    return file


def compared(name: str, path: Path) -> ArtefactParity:
    (result,) = edgerep.verify(network(name), [path]).artefacts
    return result


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_honest_runtime_passes_where_candidates_tie(
    name: str, precision: str, files: Callable[[str, str], Path]
) -> None:
    report = edgerep.verify(network(name), [files(name, precision)])
    report.require()
    (choice,) = report.artefacts[0].choices
    assert choice.rows == sum(batch.rows for batch in report.artefacts[0].batches)
    assert choice.otherwise  # or nothing was shown by this test
    assert choice.regret == choice.allowed == 0
    assert report.to_json()["artefacts"][0]["choices"][0]["passed"]
    assert "with the artefact's choice made in the reference" in parity_table(report)


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML shows no values inside a program")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_choices_of_a_package_are_followed_where_it_is_interpreted(
    name: str, precision: str, files: Callable[[str, str], Path], tmp_path: Path
) -> None:
    graph = files(name, precision)
    package = edgerep.export_coreml(graph, tmp_path / "a.mlpackage").path
    result = compared(name, package)
    (choice,) = result.choices
    assert result.passed
    assert choice.otherwise
    assert choice.before is not None
    assert choice.regret == choice.allowed == 0
    faulty = {"queries": index_after, "labels": class_after, "sorted": smallest}[name]
    wrong = edgerep.export_coreml(planted(graph, faulty), tmp_path / "b.mlpackage").path
    assert not compared(name, wrong).passed


def test_the_choices_of_an_onnx_file_are_followed_too(files: Callable[[str, str], Path]) -> None:
    path = files("labels", "fp32")
    (result,) = edgerep.verify(path, [files("labels", "fp16")]).artefacts
    assert result.passed
    assert result.choices[0].otherwise
    assert not edgerep.verify(path, [planted(path, class_after)]).passed
    assert not edgerep.verify(path, [planted(path, smallest)]).passed


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_map_of_classes_tells_its_choice_to_runtimes_that_show_no_tensors(
    precision: str, files: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runnables, "decisions_in", lambda path: ())
    (choice,) = (result := compared("labels", files("labels", precision))).choices
    assert result.passed
    assert choice.before is None
    assert choice.otherwise
    assert choice.regret <= choice.allowed
    for plant in (class_after, smallest):
        wrong = planted(files("labels", precision), plant)
        (choice,) = (result := compared("labels", wrong)).choices
        assert not result.passed
        assert choice.regret > choice.allowed


# -- faults -----------------------------------------------------------------------------------


def chooser(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type in ("TopK", "ArgMax"))


def behind(model: onnx.ModelProto, tensor: str, nodes: list[onnx.NodeProto], made: str) -> None:
    """Put nodes behind a tensor: whatever read it, reads what they made."""
    for node in model.graph.node:
        for index, one in enumerate(node.input):
            if one == tensor:
                node.input[index] = made
    at = next(i for i, node in enumerate(model.graph.node) if tensor in node.output) + 1
    outputs = {value.name for value in model.graph.output}
    if tensor in outputs:  # the maker gets another name, so that the output keeps its own
        maker = model.graph.node[at - 1]
        maker.output[list(maker.output).index(tensor)] = f"{tensor}_right"
        first = nodes[0].input
        first[list(first).index(tensor)] = f"{tensor}_right"
        nodes[-1].output[0] = tensor
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*rest[:at], *nodes, *rest[at:]])


def index_after(model: onnx.ModelProto) -> None:
    """Each index, but the last place, is one too large."""
    node = chooser(model)
    tensor = node.output[-1]
    for name, value in (("fault_one", 1), ("fault_last", 23)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    behind(model, tensor, [
        helper.make_node("Add", [tensor, "fault_one"], ["fault_more"]),
        helper.make_node("Min", ["fault_more", "fault_last"], ["fault_indices"]),
    ], "fault_indices")  # fmt: skip


def class_after(model: onnx.ModelProto) -> None:
    """Classes 3 and 4 are each other's."""
    tensor = chooser(model).output[0]
    table = np.array([0, 1, 2, 4, 3, 5], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(table, "fault_table"))
    table_of = helper.make_node("Gather", ["fault_table", tensor], ["fault_labels"])
    behind(model, tensor, [table_of], "fault_labels")


def smallest(model: onnx.ModelProto) -> None:
    node = chooser(model)
    if node.op_type == "ArgMax":
        node.op_type = "ArgMin"
    else:
        kept = [attribute for attribute in node.attribute if attribute.name != "largest"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("largest", 0)])


def score_weight_tripled(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if values.ndim == 4 and len(values) in (5, 6, 24):
            values.reshape(len(values), -1)[2, np.abs(values[2]).argmax()] *= 3
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def columns_swapped(model: onnx.ModelProto) -> None:
    """Of the scores behind the choice: two classes."""
    tensor = model.graph.output[0].name
    order = np.array([1, 0, 2, 3, 4], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(order, "fault_order"))
    behind(model, tensor, [
        helper.make_node("Gather", [tensor, "fault_order"], ["fault_scores"], axis=2),
    ], "fault_scores")  # fmt: skip


def planted(path: Path, plant: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(path)
    plant(model)
    del model.graph.value_info[:]
    wrong = path.with_name(f"{path.stem}.{plant.__name__}.onnx")
    onnx.save(model, wrong)
    return wrong


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("faulty", "plant"), [
    ("queries", index_after), ("queries", smallest), ("queries", score_weight_tripled),
    ("queries", columns_swapped), ("labels", class_after), ("labels", smallest),
    ("labels", score_weight_tripled), ("sorted", index_after), ("sorted", smallest),
    ("sorted", score_weight_tripled),
])  # fmt: skip
def test_a_fault_at_or_behind_a_choice_is_found(
    faulty: str,
    plant: Callable[[onnx.ModelProto], None],
    precision: str,
    files: Callable[[str, str], Path],
) -> None:
    assert not compared(faulty, planted(files(faulty, precision), plant)).passed


def test_another_number_of_choices_is_another_network(files: Callable[[str, str], Path]) -> None:
    def fewer(model: onnx.ModelProto) -> None:
        count = chooser(model).input[1]
        values = next((t for t in model.graph.initializer if t.name == count), None)
        if values is None:
            node = next(node for node in model.graph.node if count in node.output)
            values = node.attribute[0].t
        values.CopyFrom(numpy_helper.from_array(np.array([9], np.int64), values.name))
        for output in model.graph.output:
            output.type.tensor_type.shape.dim[1].dim_value = 9

    with pytest.raises(EdgerepError):
        compared("queries", planted(files("queries", "fp32"), fewer))


# -- the parts --------------------------------------------------------------------------------

X = torch.tensor([[1.0, 5.0, 3.0, 5.0], [2.0, 2.0, 0.0, 1.0]])


@pytest.mark.parametrize("call", [
    lambda x: x.topk(2, dim=1), lambda x: torch.topk(x, 1, -1, largest=False),
    lambda x: x.sort(1, descending=True), lambda x: torch.sort(x, dim=1, stable=True),
    lambda x: x.argsort(1), lambda x: x.argmax(1), lambda x: x.argmin(-1, keepdim=True),
    lambda x: x.max(1), lambda x: torch.min(x, 1, keepdim=True),
])  # fmt: skip
def test_every_choice_is_recorded_and_can_be_made_otherwise(call: Callable[[Tensor], Any]) -> None:
    with torch.inference_mode():
        plain = flat_outputs(call(X))
        with Deciding() as deciding:
            recorded = flat_outputs(call(X))
        (choice,) = deciding.choices
        other = (choice.chosen + 1) % 4
        with Deciding([other]) as forced:
            *values, places = flat_outputs(call(X))
    assert all(map(torch.equal, plain, recorded))
    assert (choice.regret(choice.scores, choice.chosen) == 0).all()
    assert (forced.choices[0].chosen == other).all()
    assert (places.numpy().reshape(other.shape) == other).all()
    for value in values:
        assert (value.numpy().reshape(other.shape) == np.take_along_axis(X.numpy(), other, 1)).all()


def test_what_is_no_choice_of_each_sample_is_left_alone() -> None:
    with torch.inference_mode(), Deciding() as deciding:
        assert X.max() == 5
        assert X.argmax() == 1
        assert X.amax(1).tolist() == [5, 2]
        X.argmax(0)
    assert [choice.of_each(2) for choice in deciding.choices] == [False]


@pytest.mark.parametrize(("indices", "expected"), [
    ([[1, 3], [0, 1]], [0, 0]), ([[3, 1], [1, 0]], [0, 0]), ([[1, 2], [0, 1]], [2, 0]),
    ([[1, 1], [0, 1]], [np.inf, 0]), ([[1, 4], [0, 1]], [np.inf, np.inf]),
    ([[3, 1], [3, 0]], [0, 1]),
])  # fmt: skip
def test_regret_is_free_of_ties_and_knows_no_repetition(
    indices: list[list[int]], expected: list[float]
) -> None:
    choice = Choice(
        scores=X.numpy(), chosen=np.array([[1, 3], [0, 1]]), axis=1, largest=True, ordered=True
    )
    assert choice.regret(X.numpy(), np.array(indices)).tolist() == expected

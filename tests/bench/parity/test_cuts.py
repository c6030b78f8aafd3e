"""Masks, comparisons and whole numbers: rounding may turn them, and every real fault is found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

import edgerep
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.references.cuts import Cut
from edgerep.bench.parity.references.deciding import Deciding
from edgerep.bench.report.text.parity import parity_table
from edgerep.bench.sessions import runnables
from edgerep.errors import EdgerepError, OnnxError

SIZE = 12


def pixels(x: Tensor) -> Tensor:
    return (x.sigmoid() * 255).round().to(torch.uint8)


def peaks(x: Tensor) -> Tensor:
    heat = x.sigmoid()
    return heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)


ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "pixels": pixels,
    "steps": lambda x: (8 * x).floor().to(torch.int32),
    "mask": lambda x: (x.sigmoid() > 0.55).float(),
    "where": lambda x: torch.where(x <= 0.1, x * 2, -1.0),
    "above the mean": lambda x: (x > x.mean((2, 3), keepdim=True)).to(torch.int64),
    "peaks": peaks,
    "behind a layer": lambda x: functional.avg_pool2d(x.sign(), 3),
}


class Cutting(nn.Module):
    def __init__(self, end: str) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.head = nn.Conv2d(12, 6, 1)
        self.end = ENDS[end]

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.head(self.bn(self.conv(x)).relu()))


def network(end: str) -> nn.Module:
    torch.manual_seed(1)
    return Cutting(end).eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    folder = tmp_path_factory.mktemp("cuts")

    def made(end: str, precision: str) -> Path:
        path = folder / f"{end.replace(' ', '-')}.{precision}.onnx"
        if not path.exists():
            edgerep.export_onnx(
                network(end), path, precision=precision, batch=2,
                input_shapes=[(3, SIZE, SIZE)],
            )  # fmt: skip
        return path

    return made


def compared(end: str, path: Path) -> ArtefactParity:
    (result,) = edgerep.verify(network(end), [path]).artefacts
    return result


@pytest.mark.parametrize("end", list(ENDS))
def test_an_honest_float16_file_passes_where_numbers_lie_at_their_threshold(
    end: str, file: Callable[[str, str], Path]
) -> None:
    report = edgerep.verify(network(end), [path := file(end, "fp16")])
    report.require()
    (cut,) = report.artefacts[0].choices
    assert cut.otherwise  # or nothing was shown by this test
    assert cut.before is not None
    assert "with the artefact's choice made in the reference" in parity_table(report)
    assert not report.artefacts[0].choices_unfollowed
    assert edgerep.verify(path, [path]).passed  # an ONNX file as the reference decides, too


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML shows no values inside a program")
@pytest.mark.parametrize("end", ["steps", "peaks"])
def test_what_a_package_decides_is_followed_where_it_is_interpreted(
    end: str, file: Callable[[str, str], Path], tmp_path: Path
) -> None:
    package = edgerep.export_coreml(file(end, "fp16"), tmp_path / "a.mlpackage").path
    result = compared(end, package)
    assert result.passed
    assert result.choices[0].otherwise


# -- faults -----------------------------------------------------------------------------------


def weight_scaled(model: onnx.ModelProto) -> None:
    """By 1.05, in the layer before the cut."""
    weight = next(t for t in model.graph.initializer if list(t.dims)[:2] == [6, 12])
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(values * values.dtype.type(1.05), weight.name))


def channel_lost(model: onnx.ModelProto) -> None:
    weight = next(t for t in model.graph.initializer if list(t.dims)[:2] == [6, 12])
    values = numpy_helper.to_array(weight).copy()
    values[2] = 0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def other_operator(model: onnx.ModelProto) -> None:
    others = {"Round": "Floor", "Floor": "Ceil", "Greater": "Less", "LessOrEqual": "Greater",
              "Equal": "Less", "Sign": "Identity"}  # fmt: skip
    node = next(node for node in model.graph.node if node.op_type in others)
    node.op_type = others[node.op_type]


def threshold_moved(model: onnx.ModelProto) -> None:
    """By 0.02: many times what float16 makes of the numbers that are held to it."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    node = next(n for n in model.graph.node if n.op_type in ("Greater", "LessOrEqual"))
    for index, name in enumerate(node.input):
        if name in stored:
            value = numpy_helper.to_array(stored[name])
            moved = (value + 0.02).astype(value.dtype)
            model.graph.initializer.append(numpy_helper.from_array(moved, "moved"))
            node.input[index] = "moved"


def one_value_off(model: onnx.ModelProto) -> None:
    """The first of all numbers of the output, by one."""
    output = model.graph.output[0]
    maker = next(node for node in model.graph.node if output.name in node.output)
    maker.output[list(maker.output).index(output.name)] = "right"
    dtype = helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
    more = np.zeros([1, *(d.dim_value for d in output.type.tensor_type.shape.dim[1:])], dtype)
    more.flat[0] = 1
    model.graph.initializer.append(numpy_helper.from_array(more, "more"))
    model.graph.node.append(helper.make_node("Add", ["right", "more"], [output.name]))


@pytest.mark.parametrize(("end", "precision", "plant"), [
    ("pixels", "fp16", weight_scaled), ("pixels", "fp32", other_operator),
    ("pixels", "fp16", one_value_off), ("steps", "fp16", other_operator),
    ("mask", "fp32", weight_scaled), ("mask", "fp16", other_operator),
    ("mask", "fp16", threshold_moved), ("mask", "fp16", one_value_off),
    ("where", "fp32", threshold_moved), ("above the mean", "fp16", weight_scaled),
    ("peaks", "fp16", weight_scaled), ("peaks", "fp16", other_operator),
    ("behind a layer", "fp16", weight_scaled),
])  # fmt: skip
def test_a_fault_before_at_or_behind_a_cut_is_found(
    end: str,
    plant: Callable[[onnx.ModelProto], None],
    precision: str,
    file: Callable[[str, str], Path],
) -> None:
    path = file(end, precision)
    plant(model := onnx.load(path))
    del model.graph.value_info[:]
    onnx.save(model, wrong := path.with_name("wrong.onnx"))
    assert not compared(end, wrong).passed


@pytest.mark.parametrize(("end", "precision"), [("pixels", "fp32"), ("mask", "fp16")])
def test_an_output_that_is_the_cut_tells_it_to_runtimes_that_show_no_tensors(
    end: str,
    precision: str,
    file: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runnables, "decisions_in", lambda path: ())
    (cut,) = (result := compared(end, path := file(end, precision))).choices
    assert result.passed
    assert "nearest numbers that explain it" in cut.name
    assert cut.before is not None
    assert cut.regret == 0
    plants: list[Callable[[onnx.ModelProto], None]] = [channel_lost]
    if precision == "fp32":  # a step of 255 is less than what float16 may be off
        plants += [weight_scaled, other_operator, one_value_off]
    for plant in plants:
        plant(model := onnx.load(path))
        onnx.save(model, wrong := path.with_name("wrong.onnx"))
        assert not compared(end, wrong).passed


# -- the parts --------------------------------------------------------------------------------

X = torch.tensor([[-1.5, -0.2, 0.0, 0.5, 2.6], [1.0, 1.2, -3.0, 0.1, 0.0]])


@pytest.mark.parametrize("call", [
    torch.round, torch.floor, torch.ceil, torch.trunc, torch.sign, lambda x: x.int(),
    lambda x: x.clone().round_(), lambda x: torch.div(x, 0.5, rounding_mode="floor"),
    lambda x: x // 0.5, lambda x: x.bool(), lambda x: x > 0.1, lambda x: x >= 0, lambda x: x < 0.5,
    lambda x: x <= x.mean(), lambda x: x == 0, lambda x: x != 1,
])  # fmt: skip
def test_every_cut_is_recorded_and_can_be_made_otherwise(
    call: Callable[[Tensor], Tensor],
) -> None:
    with torch.inference_mode():
        plain = call(X)
        with Deciding() as deciding:
            recorded = call(X)
        (cut,) = deciding.choices
        is_truth = cut.chosen.dtype == bool
        other = ~cut.chosen if is_truth else (cut.chosen + 1).astype(cut.chosen.dtype)
        with Deciding([other]) as forced:
            found = call(X)
    assert torch.equal(plain, recorded)
    assert cut.is_open
    assert (cut.regret(cut.scores, cut.chosen) == 0).all()
    assert (cut.regret(cut.scores, other) > 0).all()
    assert (forced.choices[0].chosen == other).all()
    assert torch.equal(found, ~plain if is_truth else plain + 1)


def test_what_decides_nothing_is_left_alone() -> None:
    with torch.inference_mode(), Deciding() as deciding:
        (X.int() > 0).float()  # whole numbers are exact
        X.round().int()
        torch.arange(2.0)[:, None].floor()
    assert [one.is_open for one in deciding.choices] == [True, True, False, False]


@pytest.mark.parametrize(("kind", "score", "chosen", "expected"), [
    ("nearest", 2.6, 2, 0.1), ("nearest", 2.5, 3, 0), ("nearest", 2.5, 2.5, np.inf),
    ("down", 2.9, 3, 0.1), ("down", 4.5, 3, 0.5), ("up", 2.1, 2, 0.1), ("to zero", -2.1, -3, 0.9),
    ("to zero", -2.9, -3, 0.1), ("to zero", 0.9, 1, 0.1), ("to zero", -0.9, 1, 1.9),
    ("to zero", 1.5, 0, 0.5), ("sign", 0.25, -1, 0.25), ("nonzero", 0.25, False, 0.25),
])  # fmt: skip
def test_regret_of_a_step_is_how_far_the_number_lies_from_it(
    kind: str, score: float, chosen: float, expected: float
) -> None:
    cut = Cut(scores=np.array([[7.0]]), chosen=np.array([[8]]), kind=kind)
    found = cut.regret(np.array([[score]]), np.array([[chosen]]))
    assert found.tolist() == pytest.approx([expected])


def test_numbers_that_are_equal_leave_nothing_to_rounding() -> None:
    scores = np.zeros((1, 2, 3))
    scores[0, 0] = [0, 0.5, 0.5]
    scores[0, 1] = [0, 0.5, 0.4]
    cut = Cut(scores=scores, chosen=np.array([[True, True, True]]), kind="at least")
    for at, expected in enumerate([np.inf, np.inf, 0.1]):
        chosen = cut.chosen.copy()
        chosen[0, at] = False
        assert cut.regret(scores, chosen).tolist() == pytest.approx([expected])
    chosen = np.array([[True, False, True]])
    assert cut.regret(scores, chosen, 2.0**-11).tolist() == [0]  # more digits than are shown
    assert cut.regret(scores, ~chosen, 2.0**-11).tolist() == [np.inf]


def test_a_maximum_that_is_none_by_any_number_is_found_where_digits_are_hidden() -> None:
    scores = np.ones((1, 2, 8))
    cut = Cut(scores=scores, chosen=np.ones((1, 8), bool), kind="equal")
    assert cut.regret(scores, np.zeros((1, 8), bool), 2.0**-11).tolist() == [np.inf]
    assert cut.regret(scores, np.arange(8)[None] > 0, 2.0**-11).tolist() == [0]
    assert cut.regret(scores, np.arange(8)[None] > 0).tolist() == [np.inf]


def test_an_integer_type_of_onnx_is_cut_as_torch_does(tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 5])]
    made = [helper.make_tensor_value_info("y", TensorProto.INT32, [None, 5])]
    graph = helper.make_graph([node], "g", ends, made)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path := tmp_path / "a.onnx")
    from edgerep.bench.parity.references.onnx_file import OnnxReference

    truth, own = OnnxReference(path).answers([X.numpy()])
    assert truth.outputs[0].tolist() == own.outputs[0].tolist() == X.int().tolist()
    assert [one.kind for one in truth.choices if isinstance(one, Cut)] == ["to zero"]


class Where(nn.Module):
    """Bool outputs: whether a number is large, and whether any in its row is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        large = self.conv(x) > 0.2
        return large, large.any(dim=3)


def test_a_bool_output_goes_the_whole_way(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "a.onnx"
    fused = edgerep.fuse(module := Where().eval(), inputs=[torch.rand(2, 3, 8, 8)])
    graph = edgerep.export_onnx(fused, path, precision="fp16", batch=2, size=8)
    assert [spec.dtype for spec in graph.outputs] == ["bool", "bool"]
    assert edgerep.verify(module, [graph]).passed
    if sys.platform != "darwin":
        package = edgerep.export_coreml(graph, tmp_path / "a.mlpackage")
        assert edgerep.verify(module, [package]).passed  # as 0 and 1: Core ML has no bool arrays
    model = onnx.load(path)
    nodes = list(model.graph.node)
    at = next(i for i, node in enumerate(nodes) if "output_1" in node.output)
    nodes[at].output[0] = "right"
    nodes.insert(at + 1, helper.make_node("Not", ["right"], ["output_1"]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, wrong := tmp_path / "wrong.onnx")
    assert not edgerep.verify(module, [wrong]).passed


class Doubles(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return y, y.double()


def test_an_output_of_a_type_that_no_device_takes_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="`output_1` is DOUBLE") as caught:
        edgerep.export_onnx(Doubles().eval(), tmp_path / "a.onnx", size=8)
    assert "partial" not in str(caught.value)


class Twice(nn.Module):
    """A mask that is no output, and an output that does not hang on it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return y * 2, torch.where(y > 0.1, y, -1.0)


def test_outputs_behind_a_mask_that_is_not_shown_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = Twice().eval()
    graph = edgerep.export_onnx(module, tmp_path / "a.onnx", precision="fp16", batch=2, size=16)
    assert edgerep.verify(module, [graph]).passed
    monkeypatch.setattr(runnables, "decisions_in", lambda path: ())
    report = edgerep.verify(module, [graph])
    (result,) = report.artefacts
    assert result.choices_unfollowed == 1
    assert result.unfollowed_outputs == ("output_1",)
    assert "output_1 hang(s) on them" in parity_table(report)


def test_what_finds_as_many_as_there_are_is_named(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    path = tmp_path / "a.onnx"
    edgerep.export_onnx(module, path, batch=1, size=8)
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("NonZero", [model.graph.output[0].name], ["places"]))
    model.graph.output.append(helper.make_tensor_value_info("places", TensorProto.INT64, [4, None]))
    del model.metadata_props[:]
    model.graph.output[-1].type.tensor_type.shape.dim[1].dim_value = 7
    onnx.save(model, wrong := tmp_path / "b.onnx")
    with pytest.raises(EdgerepError, match="`places` on NonZero: what hangs on these has as many"):
        edgerep.verify(module, [wrong])
    del model.graph.output[0]
    onnx.save(model, wrong)
    with pytest.raises(OnnxError, match="`places` on NonZero"):
        edgerep.verify(wrong, [path])


@pytest.mark.parametrize("batch", [1, 3])
def test_an_onnx_file_of_a_fixed_batch_decides_for_each_sample(batch: int, tmp_path: Path) -> None:
    module = network("pixels")
    files = [
        edgerep.export_onnx(
            module, tmp_path / f"{precision}.onnx", precision=precision, batch=batch,
            input_shapes=[(3, 8, 8)],
        ) for precision in ("fp32", "fp16")
    ]  # fmt: skip
    (result,) = edgerep.verify(files[0], [files[1]]).artefacts
    assert result.passed
    assert result.choices[0].otherwise

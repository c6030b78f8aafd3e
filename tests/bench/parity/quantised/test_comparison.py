"""int8 artefacts: honest ones agree, and no planted fault passes, in whatever file it stands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.verification import verify
from edgerep.bench.parity.words import notes_of
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import EdgerepError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.graph.onnx_file import open_graph
from edgerep.export.precision.adaptation import adapt_onnx
from zoo.quantised import PLAIN, Form, a_few_images, a_float_graph, quantised, saved

Array = NDArray[Any]
IMAGES = a_few_images(16)
FORMS = {
    "edgerep": Form(), "one-scale": Form(rows=False), "torch": Form("int32", "uint8", "pair"),
}  # fmt: skip
Fault = Callable[[onnx.ModelProto], None]


def of(form: Form = PLAIN, batch: int | str = 1) -> onnx.ModelProto:
    return quantised(a_float_graph(batch), IMAGES, form)


def one(reference: Path, artefact: Path, images: Array | None = IMAGES) -> ArtefactParity:
    return verify(reference, [artefact], calibration=images).artefacts[0]


def changed(model: onnx.ModelProto, name: str, change: Callable[[Array], Array]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(array.copy()).astype(array.dtype), name))


def times(name: str, factor: float, at: int | None = None) -> Fault:
    def plant(model: onnx.ModelProto) -> None:
        def change(array: Array) -> Array:
            if at is None:
                return array * factor
            array[at] *= factor
            return array

        changed(model, name, change)

    return plant


def neighbours(name: str) -> Fault:
    return lambda model: changed(model, name, lambda array: array[[1, 0, *range(2, len(array))]])


def zero_of_the_dequantiser(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.name == "b_DQ")
    model.graph.initializer.append(numpy_helper.from_array(np.array(3, np.int8), "wrong"))
    node.input[2] = "wrong"


def scale_of_the_dequantiser(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.name == "b_DQ")
    scale = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "b_scale")
    wrong = np.asarray(scale * np.float32(1.05))
    model.graph.initializer.append(numpy_helper.from_array(wrong, "wrong"))
    node.input[1] = "wrong"


def pair_dropped(model: onnx.ModelProto) -> None:
    for node in [n for n in model.graph.node if n.name in ("b_Q", "b_DQ")]:
        model.graph.node.remove(node)
    for node in model.graph.node:
        node.input[:] = ["b" if name == "b_dq" else name for name in node.input]


def weights_of_another_layer(model: onnx.ModelProto) -> None:
    other = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w1_q")
    changed(model, "w2_q", lambda array: np.concatenate([other, other], 1)[:, :4])


def a_weight_off_by_two_steps(model: onnx.ModelProto) -> None:
    def change(array: Array) -> Array:
        array[1, 2, 1, 1] += 2 if array[1, 2, 1, 1] < 100 else -2
        return array

    changed(model, "w2_q", change)


BESIDE_THE_GRAPH: dict[str, Fault] = {
    "scale of an activation": times("b_scale", 1.05),
    "scale of a dequantiser": scale_of_the_dequantiser,
    "zero point of a dequantiser": zero_of_the_dequantiser,
    "scale of a channel": times("w2_scale", 1.02, at=1),
    "scales of neighbours exchanged": neighbours("w1_scale"),
    "pair dropped": pair_dropped,
    "weights of another layer": weights_of_another_layer,
    "one weight of one channel": a_weight_off_by_two_steps,
    "bias": times("b2", 1.01, at=2),
    "last layer's scale": times("w3_scale", 1.01, at=3),
}
BESIDE_FLOAT: dict[str, Fault] = {
    "scale of a channel": times("w2_scale", 1.1, at=1),
    "scales of neighbours exchanged": neighbours("w2_scale"),
    "scales of all channels": times("w1_scale", 1.1),
    "weights of another layer": weights_of_another_layer,
    "last layer's scale": times("w3_scale", 1.1, at=3),
}
# What the weights do not tell: by the pair itself, or by the range of the user's images.
OF_ACTIVATIONS: dict[str, tuple[Fault, str]] = {
    "scale of a dequantiser": (scale_of_the_dequantiser, "b_DQ gives back by scale"),
    "zero point of a dequantiser": (zero_of_the_dequantiser, "b_DQ gives back by zero point"),
    "range that is too small": (times("b_scale", 0.1), "b_Q: its range is not that"),
    "range that is hardly used": (times("b_scale", 40), "b_Q: its range is not that"),
}


@pytest.fixture
def float_file(tmp_path: Path) -> Path:
    return saved(tmp_path / "float.onnx", a_float_graph(1))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_honest_files_agree_with_their_graph_and_with_float(
    form: Form, float_file: Path, tmp_path: Path
) -> None:
    graph = saved(tmp_path / "q.onnx", of(form, 1 if form != PLAIN else "n"))
    package = export_coreml(graph, tmp_path / "q.mlpackage").path
    for reference in (float_file, graph):
        report = verify(reference, [graph, package], calibration=IMAGES)
        report.require()
        for found in report.artefacts:
            assert found.quantised is not None
            assert found.quantised.graph == "q.onnx"
            assert len(found.quantised.steps) == 3
            assert all(step.passed for step in found.quantised.steps)
            beside_float = reference == float_file
            assert bool(found.quantised.layers) == beside_float
            least = found.tolerance.least_sqnr_db if found.tolerance else None
            assert (least is not None) == beside_float
        report.to_json()


def test_a_range_of_which_less_than_half_is_used_is_said(float_file: Path, tmp_path: Path) -> None:
    right = verify(float_file, [saved(tmp_path / "right.onnx", of())], calibration=IMAGES)
    assert "less than half" not in " ".join(notes_of(right.artefacts[0]))
    model = of()
    times("b_scale", 2.2)(model)
    wide = saved(tmp_path / "wide.onnx", model)
    notes = " ".join(notes_of(one(float_file, wide)))
    assert "less than half of the range of b_Q (42%)" in notes
    assert "less than half" not in " ".join(notes_of(one(float_file, wide, IMAGES[:4])))


@pytest.mark.parametrize("fault", BESIDE_THE_GRAPH.values(), ids=BESIDE_THE_GRAPH)
def test_a_fault_does_not_pass_beside_the_graph_that_a_file_should_be(
    fault: Fault, tmp_path: Path
) -> None:
    graph = saved(tmp_path / "right.onnx", of())
    model = of()
    fault(model)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    wrong = saved(folder / "wrong.onnx", model)
    package = export_coreml(wrong, folder / "wrong.mlpackage").path
    report = verify(graph, [wrong, package], calibration=IMAGES)
    assert [found.passed for found in report.artefacts] == [False, False]


@pytest.mark.parametrize("fault", BESIDE_FLOAT.values(), ids=BESIDE_FLOAT)
def test_a_fault_does_not_pass_beside_the_float_network(
    fault: Fault, float_file: Path, tmp_path: Path
) -> None:
    model = of()
    fault(model)
    found = one(float_file, saved(tmp_path / "wrong.onnx", model))
    assert not found.passed
    assert found.quantised is not None
    assert [layer.name for layer in found.quantised.layers if not layer.passed]


@pytest.mark.parametrize(("fault", "said"), OF_ACTIVATIONS.values(), ids=OF_ACTIVATIONS)
def test_a_fault_of_an_activation_is_named_beside_the_float_network(
    fault: Fault, said: str, float_file: Path, tmp_path: Path
) -> None:
    model = of()
    fault(model)
    wrong = saved(tmp_path / "wrong.onnx", model)
    with pytest.raises(EdgerepError) as caught:
        verify(float_file, [wrong], calibration=IMAGES).require()
    assert said in str(caught.value)


def test_the_layer_and_the_channel_of_a_wrong_scale_are_named(
    float_file: Path, tmp_path: Path
) -> None:
    model = of()
    times("w2_scale", 1.1, at=1)(model)
    report = verify(float_file, [saved(tmp_path / "wrong.onnx", model)], calibration=IMAGES)
    with pytest.raises(EdgerepError, match=r"channel 1: 1\.\d+ times what the float network has"):
        report.require()


def test_a_package_finds_its_graph_beside_it_and_says_so_where_it_is_not(
    float_file: Path, tmp_path: Path
) -> None:
    graph = saved(tmp_path / "q.onnx", of())
    package = export_coreml(graph, tmp_path / "q.mlpackage").path
    assert one(float_file, package).quantised.graph == "q.onnx"  # type: ignore[union-attr]
    apart = tmp_path / "apart"
    apart.mkdir()
    for name in ("q.mlpackage", "q.mlpackage.json"):
        shutil.move(tmp_path / name, apart / name)
    found = one(float_file, apart / "q.mlpackage")
    assert found.passed
    assert found.quantised is not None
    assert found.quantised.graph is None
    assert "not beside it" in found.quantised.why_not


@pytest.mark.parametrize("is_right", [True, False])
def test_what_shows_no_integers_is_compared_with_its_graph_from_end_to_end(
    is_right: bool, float_file: Path, tmp_path: Path
) -> None:
    graph = saved(tmp_path / "q.onnx", of())
    package = export_coreml(graph, tmp_path / "q.mlpackage").path
    if not is_right:
        model = of()
        weights_of_another_layer(model)
        wrong = tmp_path / "wrong"
        wrong.mkdir()
        package = export_coreml(saved(wrong / "w.onnx", model), wrong / "w.mlpackage").path
    blind = replace(open_runnable(package), observer=None)  # as of an engine, or on a Mac
    found = verify(graph, [blind], calibration=IMAGES).artefacts[0]
    assert found.passed == is_right
    assert found.tolerance is not None
    assert found.tolerance.least_sqnr_db == 25
    if is_right:
        beside = verify(float_file, [blind], calibration=IMAGES).artefacts[0]
        assert beside.passed
        assert beside.quantised is not None
        assert beside.quantised.graph == "q.onnx"
        assert not beside.quantised.steps
        assert "shows none of its integers" in " ".join(notes_of(beside))


def test_preprocessing_in_front_is_followed(tmp_path: Path) -> None:
    graph = open_graph(saved(tmp_path / "q.onnx", of()))
    pixels = Preprocessing("uint8", (0.5,), (0.25,))
    made = adapt_onnx(graph, tmp_path / "p.onnx", precision="int8", preprocessing=pixels)
    verify(graph.path, [made]).require()


def test_a_float_file_is_not_held_against_a_quantised_one(float_file: Path, tmp_path: Path) -> None:
    graph = saved(tmp_path / "q.onnx", of())
    with pytest.raises(EdgerepError, match="is quantised, and"):
        verify(graph, [float_file])

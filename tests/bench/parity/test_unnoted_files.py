"""Files from elsewhere, or whose notes were lost: what they do not say is found out, or said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import edgerep
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import EdgerepError


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.conv(x).relu().mean((2, 3)))
        return out


class OfPixels(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x.float() / 255 - 0.5) / 0.25)


def without_note(path: Path, name: str) -> Path:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, found := path.with_name(name))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.onnx"
    edgerep.export_onnx(Small().eval(), path, size=12, batch=(1, 2, 4))
    return without_note(path, "b.onnx")


def rows_mixed(path: Path) -> Path:
    """From the second row on, half of the row before is added."""
    model = onnx.load(path)
    name = model.graph.output[0].name
    maker = next(node for node in model.graph.node if name in node.output)
    maker.output[0] = "right"
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "axis"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    model.graph.node.extend([
        helper.make_node("CumSum", ["right", "axis"], ["sums"], exclusive=1),
        helper.make_node("Mul", ["sums", "half"], ["more"]),
        helper.make_node("Add", ["right", "more"], [name]),
    ])  # fmt: skip
    onnx.save(model, wrong := path.with_name("mixed.onnx"))
    return wrong


def test_an_open_batch_is_run_at_several_sizes(file: Path) -> None:
    report = edgerep.verify(Small().eval(), [file])
    report.require()
    assert [batch.batch for batch in report.artefacts[0].batches] == [1, 2, 3, 8]
    report = edgerep.verify(Small().eval(), [wrong := rows_mixed(file)])
    passed = {batch.batch: batch.passed for batch in report.artefacts[0].batches}
    assert passed == {1: True, 2: False, 3: False, 8: False}
    assert edgerep.verify(Small().eval(), [wrong], batch=[1]).passed


def test_a_batch_that_is_open_in_name_only_is_said_to_be_that(file: Path) -> None:
    model = onnx.load(file)
    shape = numpy_helper.from_array(np.array([1, 4], np.int64), "shape")
    name = model.graph.output[0].name
    next(node for node in model.graph.node if name in node.output).output[0] = "right"
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Reshape", ["right", "shape"], [name]))
    onnx.save(model, file)
    with pytest.raises(EdgerepError, match=r"says that its batch is open, and fails at 2"):
        edgerep.verify(Small().eval(), [file])
    assert edgerep.verify(Small().eval(), [file], batch=[1]).passed


def test_a_file_of_pixels_without_a_note_is_the_cause_itself(tmp_path: Path) -> None:
    pixels = Preprocessing("uint8", (0.5,), (0.25,))
    path = tmp_path / "a.onnx"
    edgerep.export_onnx(Small().eval(), path, size=12, batch=2, preprocessing=pixels)
    lost = without_note(path, "b.onnx")
    floats = edgerep.export_onnx(Small().eval(), tmp_path / "c.onnx", size=12, batch=2)
    for reference in (Small().eval(), floats):
        with pytest.raises(EdgerepError, match=r"b\.onnx takes pixels as they are.*no note"):
            edgerep.verify(reference, [lost])
    assert edgerep.verify(OfPixels().eval(), [lost]).passed

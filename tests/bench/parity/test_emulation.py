"""A float16 file is judged by what float16 makes of it, whatever runs it here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.bench.parity.words import notes_of
from edgerep.bench.report.text.parity import one_line, parity_table
from edgerep.bench.sessions.runnables import open_runnable
from edgerep.bench.sessions.session import Session
from edgerep.errors import OnnxError, ParityError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.graph.onnx_file import Graph, read_model
from edgerep.export.graph.writing import write_graph
from edgerep.export.precision.half import convert_to_half


class Loud(nn.Module):
    """Two layers whose scales cancel, so that what lies between them is large."""

    def __init__(self, scale: float, *, masked: bool = False) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1, bias=False)
        self.masked = masked
        with torch.no_grad():
            self.up.weight *= scale
            self.down.weight /= scale

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.up(x).relu()).mean((2, 3))
        if self.masked:
            y = (y + torch.tensor([0.0, 0.0, 0.0, -torch.inf])).softmax(1)
        return y


def network(scale: float, *, masked: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Loud(scale, masked=masked).eval()


def plain_half(graph: Graph) -> Graph:
    """The graph in float16 as other tools make it: nothing is rescaled or kept."""
    return write_graph(
        convert_to_half(read_model(graph.path)), graph.path.with_name("half.onnx"),
        form=graph.form, batch=graph.batch, made_from=graph.lineage, options=graph.options,
    )  # fmt: skip


@pytest.mark.parametrize(("precision", "scale", "passes"), [
    ("fp32", 1e5, True), ("fp16", 1e5, False), ("fp16", 1e2, True),
])  # fmt: skip
def test_what_float16_cannot_hold_does_not_pass(
    precision: str, scale: float, passes: bool, tmp_path: Path
) -> None:
    graph = edgerep.export_onnx(network(scale), tmp_path / "a.onnx", size=16, batch=(1, 2, 3))
    if precision == "fp16":
        graph = plain_half(graph)
    report = edgerep.verify(network(scale), [graph])
    (result,) = report.artefacts
    assert result.passed is passes
    assert (result.overflow is None) is passes
    assert [one.accumulators for one in result.emulated] == (
        ["float32", "float16"] if precision == "fp16" else []
    )
    if precision == "fp16":
        assert result.emulated[0].passed is passes
        assert "fp16 emulated" in one_line(result)
        assert "only the weights are rounded" in result.how
        assert result.emulated[0].how.startswith("float16 emulated, float32 accumulators")
        assert "emulated, float16 sums" in parity_table(report)
        assert result.to_json()["emulated"][0]["passed"] is passes
    if not passes:
        assert "exceeds 65504" in one_line(result)
        assert "(Conv, test_emulation.py:" in one_line(result)
        assert "--keep-fp32" in one_line(result)
        assert "OVERFLOWS" in parity_table(report)
        assert not any(batch["passed"] for batch in result.to_json()["batches"])
        with pytest.raises(ParityError, match="exceeds 65504"):
            report.require()


def test_a_mask_of_infinity_is_no_overflow(tmp_path: Path) -> None:
    graph = edgerep.export_onnx(
        network(1.0, masked=True), tmp_path / "a.onnx", size=16, precision="fp16"
    )
    edgerep.verify(network(1.0, masked=True), [graph]).require()


class Quiet(nn.Module):
    """Layers whose scales cancel, so that float16 rounds what lies in the middle to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(4, 4, 1, bias=False) for _ in range(4)))
        with torch.no_grad():
            for layer, scale in zip(self.layers, (2e-4, 2e-4, 5e3, 5e3), strict=True):
                layer.get_parameter("weight").mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x).mean((2, 3))
        return y


def test_what_only_rounding_on_the_way_loses_does_not_pass(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Quiet().eval()
    graph = plain_half(edgerep.export_onnx(module, tmp_path / "a.onnx", size=16))
    (result,) = edgerep.verify(module, [graph]).artefacts
    assert result.overflow is None
    assert all(output.passed for output in result.outputs)  # as ONNX Runtime computes it
    assert not result.emulated[0].passed
    assert not result.passed
    assert "DISAGREES" in one_line(result)


class Choosing(nn.Module):
    """Gives the best of its classes at each pixel, which rounding may turn where two nearly tie."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).argmax(1)
        return y


def test_choices_are_followed_in_emulation_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Choosing().eval()
    graph = edgerep.export_onnx(module, tmp_path / "a.onnx", size=16, precision="fp16")
    (result,) = edgerep.verify(module, [graph]).artefacts
    assert result.passed
    assert [one.accumulators for one in result.emulated] == ["float32"]
    assert result.emulated[0].choices


def test_a_package_says_where_it_overflows(tmp_path: Path) -> None:
    graph = edgerep.export_onnx(network(1e5), tmp_path / "a.onnx", size=16)
    half = plain_half(graph)
    (result,) = edgerep.verify(
        network(1e5), [export_coreml(half, tmp_path / "a.mlpackage")]
    ).artefacts
    assert not result.passed
    assert "exceeds 65504" in str(result.overflow)
    assert "(conv)" in str(result.overflow)


def test_a_file_that_cannot_be_emulated_is_said_to_be_compared_by_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = edgerep.export_onnx(network(1.0), tmp_path / "a.onnx", size=16, precision="fp16")
    runnable = open_runnable(graph)

    def emulator(also: object) -> Session:
        raise OnnxError("the types of what Strange give cannot be worked out")

    (result,) = edgerep.verify(network(1.0), [replace(runnable, emulator=emulator)]).artefacts
    assert result.passed
    assert "weights rounded only" in one_line(result)
    assert any("Strange" in note for note in notes_of(result))

"""Infinities that a network means, and scores that float32 loses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import edgerep
from edgerep.bench.parity.figures.infinities import without_equal_infinities
from edgerep.bench.parity.words import undecidable
from edgerep.errors import FusionError
from edgerep.export.graph.onnx_file import Graph


class Ended(nn.Module):
    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 5, 1)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.head(self.bn(self.conv(x)).relu()))


def masked(x: Tensor) -> Tensor:
    return x.masked_fill(x < 0, -torch.inf)


def exported(network: nn.Module, path: Path, precision: str = "fp32") -> Graph:
    fused = edgerep.fuse(network, inputs=[torch.rand(2, 3, 12, 12)])
    return edgerep.export_onnx(fused, path, precision=precision, batch=2, size=12)


def changed(path: Path, before_output: list[onnx.NodeProto], **constants: np.ndarray) -> Path:
    """The file with nodes between `right`, what was the output, and the output."""
    model = onnx.load(path)
    name = model.graph.output[0].name
    maker = next(node for node in model.graph.node if name in node.output)
    maker.output[0] = "right"
    model.graph.node.extend(before_output)
    model.graph.node[-1].output[0] = name
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    onnx.save(model, wrong := path.with_name("wrong.onnx"))
    return wrong


def test_a_mask_of_infinities_agrees_and_another_does_not(tmp_path: Path) -> None:
    network = Ended(masked).eval()
    graph = exported(network, tmp_path / "a.onnx", "fp16")
    edgerep.verify(network, [graph]).require()
    assert edgerep.verify(graph, [graph]).passed
    if sys.platform != "darwin":
        package = edgerep.export_coreml(graph, tmp_path / "a.mlpackage")
        edgerep.verify(network, [package]).require()
    zero, one = (np.array(x, np.float32) for x in (0, 1))
    place = np.zeros((1, 5, 10, 10), np.float32)
    place[0, 2, 4, 4] = -np.inf
    for nodes, constants in (
        ([helper.make_node("Max", ["right", "low"], ["o"])], {"low": np.array(-1e30, np.float32)}),
        ([helper.make_node("Add", ["right", "place"], ["o"])], {"place": place}),
        ([helper.make_node("Mul", ["right", "nought"], ["o"])], {"nought": zero}),  # NaN
        ([helper.make_node("Abs", ["right"], ["o"])], {"unused": one}),
    ):
        wrong = changed(graph.path, nodes, **constants)
        assert not edgerep.verify(network, [wrong]).passed


def test_what_has_no_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FusionError, match="gives NaN in float64"):
        edgerep.fuse(Ended(lambda x: x.sqrt()).eval(), inputs=[torch.rand(2, 3, 12, 12)])
    network = Ended(lambda x: x.abs() - torch.inf).eval()
    graph = exported(network, tmp_path / "a.onnx")
    with pytest.raises(edgerep.EdgerepError, match="infinite everywhere"):
        edgerep.verify(network, [graph])


def test_infinities_that_rounding_moves_are_said_to_be_that(tmp_path: Path) -> None:
    class Near(nn.Module):
        """The logarithm of what is a rounding error away from nothing."""

        def forward(self, x: Tensor) -> Tensor:
            return ((x * 1e-6 + 1) - 1).relu().log()

    graph = edgerep.export_onnx(near := Near().eval(), tmp_path / "a.onnx", size=8)
    (result,) = edgerep.verify(near, [graph]).artefacts
    assert result.tolerance is not None
    assert not result.passed
    assert "infinities or NaN in other places" in undecidable(result.tolerance)


@pytest.mark.parametrize(
    ("end", "precision"), [("low", "fp16"), ("high", "fp32"), ("softmax", "fp32")]
)
def test_scores_far_from_where_they_turn_are_compared(
    end: str, precision: str, tmp_path: Path
) -> None:
    ends: dict[str, Callable[[Tensor], Tensor]] = {
        "low": lambda x: (x * 30 - 200).sigmoid(),
        "high": lambda x: (x * 30 + 200).sigmoid(),
        "softmax": lambda x: torch.cat([x[:, :1], x[:, 1:2] * 30 + 200], dim=1).softmax(1),
    }
    network = Ended(ends[end]).eval()
    graph = exported(network, tmp_path / "a.onnx", precision)
    edgerep.verify(network, [graph]).require()
    if sys.platform != "darwin":
        package = edgerep.export_coreml(graph, tmp_path / "a.mlpackage")
        edgerep.verify(network, [package]).require()
    half = np.array(0.5, np.float32)
    nodes = [
        helper.make_node("Sub", ["right", "right"], ["nothing"]),
        helper.make_node("Add", ["nothing", "half"], ["o"]),
    ]
    assert not edgerep.verify(network, [changed(graph.path, nodes, half=half)]).passed
    turned = [helper.make_node("Sub", ["one", "right"], ["o"])]
    one = np.array(1, np.float32)
    assert not edgerep.verify(network, [changed(graph.path, turned, one=one)]).passed


def test_only_equal_infinities_are_taken_out() -> None:
    found = np.array([np.inf, -np.inf, np.inf, 1, np.nan])
    wanted = np.array([np.inf, -np.inf, -np.inf, np.inf, -np.inf])
    one, other = without_equal_infinities(found, wanted)
    np.testing.assert_array_equal(one, [0, 0, np.inf, 1, np.nan])
    np.testing.assert_array_equal(other, [0, 0, -np.inf, np.inf, -np.inf])

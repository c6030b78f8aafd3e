"""Scores are found behind the operators that only move them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.export.graph.sigmoid_values import sigmoid_values_in


class Head(nn.Module):
    """Scores of four kinds, and three outputs that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.conv(x)
        scores = y.sigmoid()
        beside_boxes = torch.cat((y[:, :2] * 100, scores[:, 2:]), 1).flatten(2)
        best = scores.flatten(2).transpose(1, 2).topk(2, 1)[0]
        product = (scores[:, :1] * scores[:, 1:]).amax(1)
        return scores, beside_boxes, best, product, y, y * scores, scores.mean((2, 3))


def test_scores_are_found_however_they_are_moved(tmp_path: Path) -> None:
    graph = edgerep.export_onnx(Head().eval(), tmp_path / "a.onnx", size=4)
    found = sigmoid_values_in(graph.path)
    assert [f"output_{index}" in found for index in range(7)] == [True] * 4 + [False] * 3


class Detector(nn.Module):
    """Boxes in pixels beside scores of one in a hundred thousand, as an untrained detector's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.offset = nn.Parameter(torch.tensor([0.0] * 4 + [-11.0] * 4).view(8, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = (self.conv(x) + self.offset).split(4, 1)
        return torch.cat((boxes * 100, scores.sigmoid()), 1), scores.sigmoid()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_small_scores_agree_though_the_runtime_rounds_them_as_large_ones(
    precision: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = Detector().eval()
    graph = edgerep.export_onnx(network, tmp_path / "a.onnx", size=8, precision=precision)
    (right,) = edgerep.verify(network, [graph]).artefacts
    assert right.passed
    with torch.no_grad():
        network.offset[5] += 0.2
    (wrong,) = edgerep.verify(network, [graph]).artefacts
    assert not wrong.passed

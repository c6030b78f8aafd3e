"""A hint for eight bits that were made of a graph which nobody fused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import edgerep
from edgerep.commands.shared.unfused import unfused_lines


@pytest.mark.parametrize("precision", ["fp32", "int8-weights"])
def test_norms_beside_the_layers_are_said_of_an_unfused_graph(
    precision: str, tmp_path: Path
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    fused = edgerep.fuse(network, inputs=torch.zeros(1, 3, 8, 8))
    made = [
        edgerep.export_onnx(one, tmp_path / f"{name}.onnx", size=8, precision=precision)
        for name, one in (("unfused", network), ("fused", fused))
    ]
    lines = [unfused_lines(graph) for graph in made]
    assert lines[1] == []
    assert len(lines[0]) == (precision == "int8-weights")
    assert all("BatchNormalization stands 1 times" in line for line in lines[0])

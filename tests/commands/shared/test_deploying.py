"""What a deployment times beside the float32 forms."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import edgerep
from edgerep.commands.shared.deploying import beside_the_forms


def test_every_graph_but_float32_is_timed_or_named(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    fused = edgerep.fuse(network, inputs=torch.zeros(1, 3, 8, 8))
    graphs = [
        edgerep.export_onnx(fused, tmp_path / f"a.{one}.onnx", size=8, precision=one)
        for one in ("fp32", "fp16", "bf16", "int8-weights")
    ]
    names = [path.name for path in beside_the_forms(graphs)]
    assert names == ["a.fp16.onnx", "a.bf16.onnx", "a.int8-weights.onnx"]

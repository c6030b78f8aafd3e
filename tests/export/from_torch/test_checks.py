"""A graph has the convolutions that its network calls, counted by running it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.errors import OnnxError
from edgerep.export.from_torch.checks import Calls, calls_of, require_same_calls
from edgerep.export.from_torch.exporter import exported
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.fusion.fused import Fused
from edgerep.networks.interface import InputShape


class Odd(nn.Module):
    """Five calls: a layer, a function, a transposed one, one twice on the same, one for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.up = nn.ConvTranspose2d(3, 3, 2, stride=2)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        self.unused(x)
        y: Tensor = self.layer(x) + self.layer(x)
        return self.up(self.norm(functional.conv2d(y, self.unused.weight)))  # type: ignore[no-any-return]


IMAGES = torch.randn(2, 3, 8, 8)


def test_layers_and_functions_are_counted() -> None:
    assert calls_of(Odd().eval(), [IMAGES]) == Calls(convolutions=5, batchnorms=1)


def test_what_is_unused_or_done_twice_may_be_missing_from_the_graph(tmp_path: Path) -> None:
    module = Odd().eval()
    graph = export_onnx(Fused(module, None, module, None, (IMAGES,)), tmp_path / "a.onnx", size=8)
    assert graph.operators["ConvTranspose"] == 1
    assert graph.operators["BatchNormalization"] == 1
    assert 2 <= graph.operators["Conv"] <= 4


@pytest.mark.parametrize("fault", ["one more", "one less", "a BatchNorm more"])
def test_a_graph_with_other_calls_is_refused(fault: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1)).eval()
    traced = exported(
        module, [IMAGES], [InputShape("input", (3, 8, 8))], dynamic=False, keep_batchnorm=False
    )
    called = calls_of(module, [IMAGES])
    require_same_calls(traced.model, traced.program, called)
    nodes = traced.model.graph.node
    convolution = next(node for node in nodes if node.op_type == "Conv")
    if fault == "one less":
        nodes.remove(convolution)
    else:
        extra = nodes.add()
        extra.CopyFrom(convolution)
        if fault == "a BatchNorm more":
            convolution.op_type = "BatchNormalization"
    assert isinstance(traced.model, onnx.ModelProto)
    with pytest.raises(OnnxError, match="convolutions and"):
        require_same_calls(traced.model, traced.program, called)

"""Values that depend on no input are told apart, and worked out in float64."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgerep.fusion.trace.constants import Constants


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 1 / 3))

    def forward(self, x: Tensor) -> Tensor:
        scale = (self.scale * 3).reshape(1, 3, 1, 1)
        return x * scale + torch.rand_like(scale) + x.mean()


def test_constants_are_worked_out_in_float64() -> None:
    module = Scaled()
    graph = fx.symbolic_trace(module).graph
    constants = Constants(module, graph)
    held = {node.name: constants.holds(node) for node in graph.nodes}
    assert held == {
        "x": False, "scale": True, "mul": True, "reshape": True, "mul_1": False,
        "rand_like": False, "add": False, "mean": False, "add_1": False, "output": False,
    }  # fmt: skip
    nodes = {node.name: node for node in graph.nodes}
    value = constants.value(nodes["reshape"])
    assert value.dtype == torch.float64
    assert value[0, 0].item() == module.scale.double()[0].item() * 3
    assert constants.stored(nodes["scale"]) is module.scale
    assert constants.value(nodes["scale"]).dtype == torch.float64
    assert constants.value(2.5) == 2.5

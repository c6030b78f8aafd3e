"""Values that depend on no input are told apart, and worked out in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from edgerep.fusion.fused import fuse
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


class Assembled(nn.Module):
    """A kernel that code puts together in place, element by element, and convolves by."""

    state: Tensor | None

    def __init__(self, *, late: bool = False, kept: bool = False) -> None:
        super().__init__()
        self.edges = nn.Parameter(torch.randn(3, 1, 3, 3))
        self.late = late
        self.register_buffer("state", torch.zeros(3, 3, 3, 3) if kept else None)

    def forward(self, x: Tensor) -> Tensor:
        device = self.edges.get_device()
        kernel = torch.zeros((3, 3, 3, 3), device=None if device < 0 else device)
        if self.state is not None:
            kernel = self.state
        scaled = 2 * self.edges
        for channel in range(self.edges.shape[0]):
            kernel[channel, channel, :, :] = scaled[channel, 0, :, :]
        if kernel.get_device() < 0 and kernel[0, 0].abs().sum() > 0:  # known, as it is so far
            kernel[0, 0] += 0.5
        early = functional.conv2d(x, kernel, padding=1)
        if self.late:
            kernel[0] += 1.0
        return functional.conv2d(functional.relu(early), kernel, padding=1)


def test_a_kernel_put_together_in_place_is_constant() -> None:
    module = Assembled().eval()
    fused = fuse(module, inputs=torch.randn(2, 3, 8, 8))
    assert fused.certificate is not None
    assert len(fused.certificate.blocks) == 2
    assert not {"zeros", "setitem"} & set(fused.module.forward.__code__.co_names)
    x = torch.randn(1, 3, 9, 7)
    assert torch.allclose(fused.module(x), module(x), atol=1e-5)


@pytest.mark.parametrize("how", ["late", "kept"])
def test_a_kernel_that_changes_afterwards_is_not(how: str) -> None:
    """Written to between two reads of it; or held by the module, and written to in every call."""
    module = Assembled(late=how == "late", kept=how == "kept").eval()
    fused = fuse(module, inputs=torch.randn(2, 3, 8, 8), certify=False)
    x = torch.randn(1, 3, 9, 7)
    assert list(fused.module.state_dict()) == list(module.state_dict())
    assert torch.allclose(fused.module(x), module(x), atol=1e-5)

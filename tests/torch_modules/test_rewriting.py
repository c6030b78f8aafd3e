"""A `forward` that merges its branches into a parameter is refused before torch's exporter runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import edgerep
from edgerep.errors import NetworkError
from edgerep.torch_modules.rewriting import rewritten_by_a_run


class Merging(nn.Module):
    """As SPAN's `Conv3XC`: two convolutions, merged into a third whenever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 3, 1, bias=False)
        self.merged = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.wide.weight.data.clone(), self.narrow.weight.data.clone()
        merged = functional.conv2d(first.permute(1, 0, 2, 3), second).permute(1, 0, 2, 3)
        self.merged.weight.data = merged
        y: Tensor = self.merged(x)
        return y


def test_what_a_run_assigns_is_found_and_taken_back() -> None:
    network = Merging().eval()
    before = network.merged.weight.detach().clone()
    assert rewritten_by_a_run(network, [torch.zeros(1, 3, 4, 4)]) == ("merged.weight",)
    assert torch.equal(network.merged.weight, before)
    assert rewritten_by_a_run(nn.Conv2d(3, 3, 1), [torch.zeros(1, 3, 4, 4)]) == ()


@pytest.mark.parametrize("fused", [False, True])
def test_it_is_refused_in_words_and_the_network_still_runs(fused: bool, tmp_path: Path) -> None:
    network = nn.Sequential(Merging(), nn.ReLU(), Merging()).eval()
    x = torch.ones(1, 3, 4, 4)
    with torch.no_grad():
        before = network(x)
    source = edgerep.fuse(network, inputs=x) if fused else network
    with pytest.raises(NetworkError, match=r"`\.data` of 0\.merged\.weight and 1 more"):
        edgerep.export_onnx(source, tmp_path / "a.onnx", size=4)
    with torch.no_grad():
        assert torch.equal(network(x), before)

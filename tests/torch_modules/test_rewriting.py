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


def test_it_is_refused_in_words_and_the_network_still_runs(tmp_path: Path) -> None:
    network = nn.Sequential(Merging(), nn.ReLU(), Merging()).eval()
    x = torch.ones(1, 3, 4, 4)
    with torch.no_grad():
        before = network(x)
    with pytest.raises(NetworkError, match=r"`\.data` of 0\.merged\.weight and 1 more"):
        edgerep.export_onnx(network, tmp_path / "a.onnx", size=4)
    with torch.no_grad():
        assert torch.equal(network(x), before)


def test_fused_it_merges_no_more_and_is_exported(tmp_path: Path) -> None:
    network = nn.Sequential(Merging(), nn.ReLU(), Merging()).eval()
    before = [held.detach().clone() for held in network.parameters()]
    fused = edgerep.fuse(network, inputs=torch.ones(1, 3, 4, 4))
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), before, strict=True))
    assert fused.certificate is not None
    assert fused.certificate.convolutions_after == 2
    assert list(fused.module.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    graph = edgerep.export_onnx(fused, tmp_path / "a.onnx", size=4)
    assert edgerep.verify(network, [graph]).passed

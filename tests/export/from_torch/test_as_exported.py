"""Code that asks whether it is exported: the network as exported is the reference, and said so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.errors import ParityError
from edgerep.networks.layers import randomised
from edgerep.torch_modules.export_mode import as_exported, change_by_export


class Head(nn.Module):
    """Boxes as they are, or decoded for the export: another shape, other numbers, one output."""

    def __init__(self, ask: str) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.ask = ask

    def forward(self, x: Tensor) -> Any:
        y: Tensor = self.norm(self.conv(x))
        asks: dict[str, Callable[[], bool]] = {
            "onnx": torch.onnx.is_in_onnx_export, "exporting": torch.compiler.is_exporting,
            "compiling": torch.compiler.is_compiling, "never": lambda: False,
            "tracing": torch.jit._trace.is_tracing,
        }  # fmt: skip
        if asks[self.ask]():
            return y.flatten(2).sigmoid().transpose(1, 2)
        return y, y.flatten(1)


class Scaled(nn.Module):
    """A block whose own arithmetic depends on it, so that fusing writes its code anew."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.one(x) + self.other(x)
        return y * 2 if torch.onnx.is_in_onnx_export() else y + 1


@pytest.mark.parametrize(("ask", "changes"), [
    ("onnx", True), ("exporting", True), ("compiling", True), ("tracing", False), ("never", False),
])  # fmt: skip
def test_what_export_changes_is_known(ask: str, changes: bool) -> None:
    found = change_by_export(Head(ask).eval(), [torch.ones(2, 3, 4, 5)])
    wanted = "1 outputs and not 2, output 0 is [2, 20, 8] and not [2, 8, 4, 5]"
    assert found == (wanted if changes else None)
    assert not torch.onnx.is_in_onnx_export()
    assert not torch.compiler.is_compiling()


@pytest.mark.parametrize("form", ["fused", "unfused"])
def test_the_network_as_exported_is_what_a_graph_is_compared_with(
    form: str, tmp_path: Path
) -> None:
    network = randomised(lambda: Head("onnx"))
    source = edgerep.fuse(network) if form == "fused" else network
    graph = edgerep.export_onnx(source, tmp_path / "a.onnx", size=16)
    report = edgerep.verify(network, [graph])
    report.require()
    assert report.reference_as_exported is not None
    assert "output 0 is [2, 256, 8] and not [2, 8, 16, 16]" in report.reference_as_exported
    assert report.to_json()["reference_as_exported"] == report.reference_as_exported
    record = json.loads((tmp_path / "a.onnx.json").read_text(encoding="utf-8"))
    assert "output 0 is [1, 256, 8]" in record["options"]["as_exported"]


def test_what_fusing_wrote_anew_is_written_for_the_export(tmp_path: Path) -> None:
    network = randomised(Scaled)
    fused = edgerep.fuse(network)
    graph = edgerep.export_onnx(fused, tmp_path / "a.onnx", size=16)
    assert graph.operators["Conv"] == 1
    report = edgerep.verify(fused, [graph])
    report.require()
    assert report.reference_as_exported is not None
    images = torch.ones(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(fused.module(images), network(images))
        with as_exported():
            inside = network(images)
    assert not torch.allclose(inside, network(images))


def test_a_failure_says_with_what_was_compared(tmp_path: Path) -> None:
    network = randomised(lambda: Head("onnx"))
    graph = edgerep.export_onnx(network, tmp_path / "a.onnx", size=16)
    with torch.no_grad():
        network.get_parameter("conv.weight").mul_(3)
    with pytest.raises(ParityError, match=r"as it is exported, .*is_in_onnx_export\(\)"):
        edgerep.verify(network, [graph]).require()

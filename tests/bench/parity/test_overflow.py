"""Numbers above float16's largest inside a float16 file do not pass, whatever runs it here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.bench.report.text.parity import one_line, parity_table
from edgerep.errors import ParityError


class Loud(nn.Module):
    """Two layers whose scales cancel, so that what lies between them is large."""

    def __init__(self, scale: float, *, masked: bool = False) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1, bias=False)
        self.masked = masked
        with torch.no_grad():
            self.up.weight *= scale
            self.down.weight /= scale

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.up(x).relu()).mean((2, 3))
        if self.masked:
            y = (y + torch.tensor([0.0, 0.0, 0.0, -torch.inf])).softmax(1)
        return y


def network(scale: float, *, masked: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Loud(scale, masked=masked).eval()


@pytest.mark.parametrize(("precision", "scale", "passes"), [
    ("fp32", 1e5, True), ("fp16", 1e5, False), ("fp16", 1e2, True),
])  # fmt: skip
def test_what_float16_cannot_hold_does_not_pass(
    precision: str, scale: float, passes: bool, tmp_path: Path
) -> None:
    graph = edgerep.export_onnx(
        network(scale), tmp_path / "a.onnx", size=16, precision=precision, batch=(1, 2, 3)
    )
    report = edgerep.verify(network(scale), [graph])
    (result,) = report.artefacts
    assert result.passed is passes
    assert (result.overflow is None) is passes
    if not passes:
        assert "exceeds 65504" in one_line(result)
        assert "OVERFLOWS" in parity_table(report)
        assert not any(batch["passed"] for batch in result.to_json()["batches"])
        with pytest.raises(ParityError, match="exceeds 65504"):
            report.require()


def test_a_mask_of_infinity_is_no_overflow(tmp_path: Path) -> None:
    graph = edgerep.export_onnx(
        network(1.0, masked=True), tmp_path / "a.onnx", size=16, precision="fp16"
    )
    edgerep.verify(network(1.0, masked=True), [graph]).require()

"""The line of the user's code: as torch's exporter notes it, and as edgerep keeps it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

import edgerep
from edgerep.export.graph.sources import keep_sources_in_place, source_of

TORCH = "/venv/lib/python3.11/site-packages/torch/nn/functional.py"


def noted(*frames: tuple[str, int]) -> onnx.NodeProto:
    node = helper.make_node("Relu", ["x"], ["y"])
    trace = "\n".join(
        f'  File "{path}", line {line}, in forward\n    x = f(x)' for path, line in frames
    )
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    node.metadata_props.add(key="namespace", value="/home/ada")
    return node


@pytest.mark.parametrize(
    ("frames", "wanted"),
    [
        ([("/home/ada/train.py", 5), ("/home/ada/nets/detect.py", 88)], "detect.py:88"),
        ([("/home/ada/nets/detect.py", 88), (TORCH, 7)], "detect.py:88"),
        ([(TORCH, 7)], "functional.py:7"),
        ([("C:\\nets\\detect.py", 3)], "detect.py:3"),
        ([], ""),
    ],
)
def test_the_innermost_line_of_the_users_own(frames: list[tuple[str, int]], wanted: str) -> None:
    assert source_of(noted(*frames)) == wanted


def test_nothing_else_of_the_machine_is_kept() -> None:
    node = noted(("/home/ada/nets/detect.py", 88), (TORCH, 7))
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    keep_sources_in_place(model)
    assert [(p.key, p.value) for p in model.graph.node[0].metadata_props] == [
        ("edgerep.source", "detect.py:88")
    ]
    assert source_of(model.graph.node[0]) == "detect.py:88"


class Volumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        volumes: Tensor = torch.linalg.det(self.conv(x))  # the line
        return volumes


def test_a_refusal_of_a_fused_network_names_its_line(tmp_path: Path) -> None:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.endswith("# the line"))
    fused = edgerep.fuse(Volumes().eval())
    graph = edgerep.export_onnx(fused, tmp_path / "a.onnx", size=8)
    assert str(tmp_path).encode() not in graph.path.read_bytes()
    with pytest.raises(edgerep.EdgerepError, match=rf"Det, at {Path(__file__).name}:{line}: "):
        edgerep.export_coreml(graph, tmp_path / "a.mlpackage")

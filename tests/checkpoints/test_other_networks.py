"""Networks of other code bases are called by name, with the command that takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import edgerep
from edgerep.checkpoints.other_networks import network_told_by
from edgerep.errors import CheckpointError

# As each code base names the tensors of its blocks.
NAMES = {
    "YOLOv6": [
        "backbone.stem.rbr_dense.conv.weight", "backbone.ERBlock_2.0.rbr_dense.conv.weight",
        "backbone.ERBlock_2.0.rbr_1x1.bn.weight", "neck.Rep_p4.conv1.rbr_identity.weight",
        "neck.Rep_p4.conv1.rbr_dense.conv.weight", "detect.stems.0.conv.weight",
    ],
    "YOLOv7": [
        "0.conv.weight", "102.rbr_dense.0.weight", "102.rbr_1x1.0.weight", "105.ia.0.implicit",
    ],
    "YOLO-NAS": ["backbone.stage1.blocks.conv1.branch_3x3.conv.weight"],
    "YOLOv8 or another of Ultralytics": ["0.conv.weight", "22.dfl.conv.weight"],
    "DBB": ["layer1.0.conv1.dbb_origin.conv.weight", "layer1.0.conv1.dbb_avg.conv.weight"],
    "ACNet": ["stage1.conv.square_conv.weight", "stage1.conv.ver_conv.weight"],
    "ECBSR": ["backbone.0.conv1x1_sbx.k0", "backbone.0.conv3x3.weight"],
}  # fmt: skip


@pytest.mark.parametrize("network", NAMES)
def test_networks_are_told_by_the_names_of_their_blocks(network: str) -> None:
    found = network_told_by(NAMES[network])
    assert found is not None
    assert found[0] == network


def test_blocks_are_counted() -> None:
    assert network_told_by(NAMES["YOLOv6"]) == ("YOLOv6", 3)
    assert network_told_by(NAMES["YOLOv7"]) == ("YOLOv7", 1)
    assert network_told_by(["conv.weight", "fc.bias"]) is None


def test_the_message_has_the_command(tmp_path: Path) -> None:
    path = tmp_path / "yolov6 s.pt"
    torch.save({"model": {name: torch.ones(2, 2, 1, 1) for name in NAMES["YOLOv6"]}}, path)
    with pytest.raises(CheckpointError) as caught:
        edgerep.load(path)
    message = str(caught.value)
    assert "It looks like YOLOv6, with 3 re-parameterizable blocks" in message
    assert "edgerep fuse 'yolov6 s.pt' --model nets:build -o fused.safetensors" in message

"""What float16 has to hold is said where it is made, and by `inspect` of what was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import edgerep
from command_line import refused, run


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 file of a network whose middle reaches 1e6, half of it behind a SiLU."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.SiLU(), nn.Conv2d(4, 2, 1)]
    with torch.no_grad():
        for at, scale in ((0, 1e5), (2, 10.0), (4, 1e-6)):
            layers[at].get_parameter("weight").mul_(scale)
    path = tmp_path_factory.mktemp("wide") / "wide.onnx"
    edgerep.export_onnx(nn.Sequential(*layers).eval(), path, size=12)
    return path


def test_what_was_done_is_said_noted_and_shown(wide: Path, tmp_path: Path) -> None:
    half, package = tmp_path / "half.onnx", tmp_path / "half.mlpackage"
    done = run("export-onnx", wide, "-o", half, "--precision", "fp16", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["options"]["range"]["kept_fp32"]
    assert made["parity"]["artefacts"][0]["emulated"][0]["passed"] is True
    assert "channels were rescaled by powers of two" in done.stderr
    assert "kept in float32: " in done.stderr
    shown = run("inspect", half).stdout
    assert "before rescaling" in shown
    assert "kept in float32: " in shown
    assert "float16 emulated, float32 accumulators" in shown
    done = run("export-coreml", half, "-o", package)
    assert done.returncode == 0, done.stderr
    assert "fp16" in done.stdout
    assert "before rescaling" in run("inspect", package).stdout
    assert json.loads(run("inspect", package, "--json").stdout)["precision"] == "fp16"


def test_layers_to_keep_that_are_none_are_refused(wide: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    asked = ("export-onnx", wide, "-o", half, "--precision", "fp16", "--keep-fp32", "nonsense")
    refused(2, *map(str, asked), says="no node 'nonsense'")
    refused(2, "export-onnx", wide, "-o", half, "--keep-fp32", "node_conv2d", says="--keep-fp32")
    assert not half.exists()

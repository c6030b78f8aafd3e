"""A target that is refused is a row of the report, and --require makes an exit code of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_line import run

# Converted to everything but a Core ML package: no operator of MIL counts duplicates away.
NETWORK = """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.norm(self.conv(x)).mean((2, 3))
        return torch.asinh(y)

def build():
    torch.manual_seed(0)
    return Odd().eval()
"""
CALL = ("deploy", "-", "--model", "odd_network:build", "--size", "8", "--no-bench")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy")
    (folder / "odd_network.py").write_text(NETWORK)
    return folder


def test_a_refused_target_is_a_row_with_its_reason(place: Path) -> None:
    done = run(*CALL, "-o", "out", "--targets", "onnx,coreml", cwd=place)
    assert done.returncode == 0, done.stderr
    result = json.loads((place / "out" / "deploy.json").read_text())
    states = {one["target"]: one["state"] for one in result["targets"]}
    assert states == {"onnx": "made", "coreml": "refused"}
    why = next(one["why"] for one in result["targets"] if one["target"] == "coreml")
    assert "Asinh" in why
    assert result["passed"] is True
    assert "refused" in (place / "out" / "report.html").read_text()
    assert done.stdout.splitlines()[-1].endswith("agrees")
    assert "not made: model.fp32.mlpackage" in done.stdout.splitlines()[-1]
    page = run("report", "out/deploy.json", "-o", "page.html", cwd=place)
    assert page.returncode == 0, page.stderr
    assert "Asinh" in (place / "page.html").read_text()


def test_a_required_target_that_is_refused_ends_with_3_after_the_report(place: Path) -> None:
    done = run(*CALL, "-o", "required", "--targets", "onnx,coreml", "--require", "coreml",
               "--json", cwd=place)  # fmt: skip
    assert done.returncode == 3
    assert json.loads(done.stdout)["targets"][1]["state"] == "refused"
    assert (place / "required" / "report.html").is_file()


def test_verify_is_strict_where_that_is_asked_for(place: Path) -> None:
    made = run("build-engine", "out/model.fp32.onnx", "-o", "a.engine", "--quiet", cwd=place)
    assert made.returncode == 0, made.stderr
    if "was not run here" not in made.stdout:
        pytest.skip("there is a GPU: the engine runs")
    assert "was not run here" in made.stdout.splitlines()[-1]
    assert made.stderr == ""
    assert "not on a Jetson" in made.stdout
    call = ("verify", "-", "--model", "odd_network:build", "out/model.fp32.onnx", "a.engine")
    assert run(*call, cwd=place).returncode == 0
    strict = run(*call, "--strict", "--json", cwd=place)
    assert strict.returncode == 4
    result = json.loads(strict.stdout)
    assert result["passed"] is True
    assert result["error"]["code"] == 4
    assert "a.engine was not run here" in result["error"]["message"]


def test_verify_compares_fused_weights_of_an_own_network_at_a_shape(place: Path) -> None:
    call = ("verify", "-", "--model", "odd_network:build", "out/fused.safetensors",
            "out/model.fp32.onnx", "--input-shape")  # fmt: skip
    done = run(*call, "3x8x8", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True
    other = run(*call, "3x4x4", cwd=place)
    assert other.returncode == 2
    assert "takes image=3x8x8" in other.stderr


def test_a_target_without_its_graph_keeps_no_graph(place: Path) -> None:
    done = run(*CALL, "-o", "package", "--targets", "coreml", cwd=place)
    assert done.returncode == 3  # nothing was made
    names = {path.name for path in (place / "package").iterdir()}
    assert names == {"fused.safetensors", "fused.safetensors.json", "deploy.json", "report.html"}


@pytest.mark.parametrize("command", ["deploy", "export-onnx"])
def test_images_of_other_channels_are_refused_once_the_network_is_read(
    place: Path, command: str
) -> None:
    np.savez(place / "grey.npz", images=np.zeros((64, 1, 8, 8), np.float32))
    out = "none" if command == "deploy" else "none.onnx"
    call = ("-", "--model", "odd_network:build", "--size", "8", "--precision", "int8", "-o", out)
    done = run(command, *call, "--calibration", "grey.npz", cwd=place)
    assert done.returncode == 3
    assert "[1, 8, 8], and the model takes float32 [3, 8, 8]" in done.stderr
    assert " fuse " not in done.stderr
    assert not (place / out).exists()

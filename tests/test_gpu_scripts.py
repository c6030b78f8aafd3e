"""The scripts for a GPU machine do on a CPU what a CPU can do, and say what it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import prepare  # of tests/gpu, on pytest's path
import pytest

GPU = Path(__file__).parent / "gpu"


def test_prove_runs_on_a_cpu(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, GPU / "prove.py", "--output", tmp_path, "--device", "cpu",
         "--networks", "RepVGG-A0", "--size", "33", "--rounds", "6"],
        check=True,
    )  # fmt: skip
    torch_stage = json.loads((tmp_path / "torch.json").read_text())
    (fusion,) = torch_stage["fusions"]
    assert fusion["network_float64_rel"] < 1e-12
    assert fusion["multiply_adds_fused"] < fusion["multiply_adds"]
    assert len(torch_stage["cases"]) == 2
    for case in torch_stage["cases"]:
        assert case["fused_rel_l2"] < 1e-4
        assert len(case["fused_samples_ms"]) >= 6
        assert case["ci95"][0] <= case["fused_over_unfused"] <= case["ci95"][1]
    ceilings = json.loads((tmp_path / "ceiling.json").read_text())
    assert ceilings["fp32_product_flops"] > 1e8
    for stage in ("rtx", "tensorrt", "context"):
        assert "prepare.py" in json.loads((tmp_path / f"{stage}.json").read_text())["not_run"]


def test_prove_says_where_there_is_no_gpu(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    subprocess.run([sys.executable, GPU / "prove.py", "--output", tmp_path], check=True)
    for stage in ("torch", "ceiling", "rtx", "tensorrt", "context"):
        assert json.loads((tmp_path / f"{stage}.json").read_text())["not_run"] == "no CUDA device"


def test_what_is_carried_in_parts_comes_out_whole(tmp_path: Path) -> None:
    files = []
    for index, size in enumerate((10, 2500, 0, 900, 100)):
        files.append(tmp_path / f"file-{index}")
        files[-1].write_bytes(bytes(i % 251 for i in range(size)))
    manifest = prepare.pack(files, tmp_path / "carry", limit=1000)
    parts = [path for path in (tmp_path / "carry").iterdir() if path.is_dir()]
    assert len(parts) == manifest["parts"]
    for part in parts:
        assert sum(piece.stat().st_size for piece in part.iterdir()) <= 1000
    made = prepare.unpack(tmp_path / "carry", tmp_path / "out")
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in files]
    next(iter(parts[0].glob("file-0*"))).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="file-0 was damaged"):
        prepare.unpack(tmp_path / "carry", tmp_path / "again")

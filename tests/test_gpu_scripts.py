"""The scripts for a GPU machine do on a CPU what a CPU can do, and say what it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import install  # of tests/gpu, on pytest's path
import int8_stage
import numpy as np
import parts
import prepare
import pytest
import stubs
import tables
import torch
from torch_stage import Way, ways

from edgerep.bench.parity.figures.tolerance import compare
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

GPU = Path(__file__).parent / "gpu"
STAGES = ("torch", "ceiling", "rtx", "tensorrt", "int8", "range", "context", "commands")


def prove(output: Path, *options: str) -> dict[str, Any]:
    subprocess.run([sys.executable, GPU / "prove.py", "--output", output, *options], check=True)
    return {path.stem: json.loads(path.read_text()) for path in output.glob("*.json")}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prove(
        tmp_path_factory.mktemp("results"), "--device", "cpu", "--networks", "RepVGG-A0",
        "--size", "33", "--rounds", "6", "--stage", *STAGES[:-1],
    )  # fmt: skip


def test_prove_runs_on_a_cpu(results: dict[str, Any]) -> None:
    found = results["torch"]
    assert found["done"] is True
    (fusion,) = found["fusions"]
    assert fusion["devices"] == fusion["devices_before"] == ["cpu"]
    assert fusion["network_float64_rel"] < 1e-12
    assert 0 < fusion["multiply_adds_fused"] < fusion["multiply_adds"]
    assert [case["layout"] for case in found["cases"]] == ["contiguous", "channels_last"]
    for case in found["cases"]:
        assert case["fused_rel_l2"] < 1e-4
        assert len(case["fused_samples_ms"]) == 6 * case["fused_samples_per_round"]
        assert case["fused_weights_bytes"] < case["unfused_weights_bytes"]
        assert case["fused_peak_bytes"] is None
        assert case["ci95"][0] <= case["times_faster"] <= case["ci95"][1]
    assert results["ceiling"]["fp32_product_flops"] > 1e8


def test_stages_that_cannot_run_say_why(results: dict[str, Any]) -> None:
    for stage in ("rtx", "tensorrt", "int8", "context"):
        assert results[stage]["done"] is False
        assert "--carried" in results[stage]["not_run"]
    assert "no CUDA" in results["torch"]["not_run_here"][0]


def test_prove_says_where_there_is_no_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    found = prove(tmp_path, "--carried", str(tmp_path))
    assert set(found) == set(STAGES)
    assert {one["not_run"] for one in found.values()} == {"no CUDA device was found"}


def test_a_run_that_is_killed_keeps_what_it_had(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, GPU / "prove.py", "--output", tmp_path, "--device", "cpu", "--stage",
         "torch", "--networks", "RepVGG-A0", "--size", "33", "--rounds", "100000"]
    )  # fmt: skip
    try:
        while not (tmp_path / "torch.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    found = json.loads((tmp_path / "torch.json").read_text())
    assert found["done"] is None
    assert found["fusions"][0]["network"] == "RepVGG-A0"
    assert "Stopped before its end" in tables.render({"torch": found})


def test_the_most_telling_ways_come_first_and_none_twice() -> None:
    planned = list(ways(cuda=True))
    assert planned[0] == Way("fp16", "channels_last", "graph", 1)
    assert len(planned) == len(set(planned)) == 4 * 2 * 3 * 4


def test_tables_hold_what_was_measured(results: dict[str, Any]) -> None:
    page = tables.render(results)
    case = results["torch"]["cases"][0]
    row = next(line for line in page.splitlines() if "| contiguous |" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:5] == ["RepVGG-A0", "fp32", "contiguous", "eager", "2"]
    assert cells[5:7] == [f"{case['unfused_p50_ms']:.3f}", f"{case['fused_p50_ms']:.3f}"]
    fusion = results["torch"]["fusions"][0]
    per_second = 2 * fusion["multiply_adds_fused"] * case["fused_throughput_per_s"]
    share = per_second / results["ceiling"]["fp32_product_flops"]
    assert cells[12] == f"{share:.1%}"
    for line in page.splitlines():  # every row of a table is as wide as its head
        if line.startswith("| ---"):
            width = line.count("|")
        elif line.startswith("|") and line[2:9] == "RepVGG-":
            assert line.count("|") == width


def test_tables_say_what_an_engine_lacks() -> None:
    batch = {
        "batch": 8, "passed": False, "rel_l2": None, "largest_rel_l2": 1e-2,
        "top1_agreement": 0.25, "plain_p50_ms": 1.5, "stages_alive": [True, False],
    }  # fmt: skip
    found = {"done": True, "environment": {}, "engines": [
        {"engine": "a.engine", "precision": "fp16", "batches": [batch]},
        {"engine": "b.engine", "precision": "fp32", "not_run": "EngineError: a\nb | c",
         "validity": {"verdict": "invalid", "reasons": ["not built for it (UNSUPPORTED_CC)"]}},
    ]}  # fmt: skip
    page = tables.render({"rtx": found})
    row = "| a.engine | fp16 | 8 | NO | not finite | 1.0e-02 | 25.0% | 1.500 | - | yes NO |"
    assert row in page
    assert "| invalid; not built for it (UNSUPPORTED_CC) | EngineError: a b \\| c |" in page


def test_layers_of_an_int8_engine_are_told_by_kind_and_type() -> None:
    kernel = "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs"
    convolution = {"Name": "stage0\x1f+ relu", "LayerType": "CaskConvolution", "TacticName": kernel}
    first = {**convolution, "TacticName": "sm80_xmma_fprop_avdt_dense_chw_int8int8_tilesize16x16"}
    half = {"LayerType": "CaskGemmConvolution", "TacticName": "sm80_xmma_gemm_f16f16_f16f16_f16"}
    reformat = {"LayerType": "Reformat", "TacticValue": "0x00000000000003e8"}
    told = {"Layers": [convolution, convolution, first, half, reformat, "a name"]}
    written = json.dumps(told).replace("\\u001f", "\x1f")  # as TensorRT 8.6 writes it
    layers = int8_stage.told_layers(written)
    assert layers[0]["kernel"] == kernel
    assert layers[0]["name"] == "stage0\x1f+ relu"
    assert int8_stage.summary_of(layers) == {
        "CaskConvolution i8i8": 2, "CaskConvolution int8int8": 1,
        "CaskGemmConvolution f16f16": 1, "Reformat": 1, "layer": 1,
    }  # fmt: skip


def test_figures_of_int8_answers() -> None:
    reference = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    logits = reference + np.array([[0.3, 0.0], [0.0, 0.0], [-3.0, 0.3]])
    found = int8_stage.figures(logits, reference, np.array([0, 1, 1]))
    assert found["agreement"] == pytest.approx(2 / 3)
    assert found["top1"] == 1
    assert found["sqnr_db"] == pytest.approx(10 * np.log10(27 / 9.18))
    unknown = int8_stage.figures(reference, reference, np.full(3, -1))
    assert unknown["top1"] is None
    assert unknown["sqnr_db"] is None


def test_tables_of_int8_engines() -> None:
    figures = {"sqnr_db": 31.04, "agreement": 0.99, "top1": None}
    network = {
        "network": "RepVGG-A0",
        "engines": {"int8": {"build_seconds": 3.0, "bytes": 9 << 20,
                             "kinds": {"CaskConvolution reading Int8": 22}},
                    "fp16": {"not_run": "EngineError: no"}},
        "batches": [{"batch": 8, "int8": figures, "p50_ms": {"int8": 0.2, "int8 graph": 0.1},
                     "int8_times_faster": {"than fp16": {"ratio": 1.5, "ci95": [1.4, 1.6]}}}],
    }  # fmt: skip
    page = tables.render({"int8": {"done": True, "environment": {}, "networks": [network]}})
    assert "| RepVGG-A0 | int8 | 3.0 | 9.0 | 22 CaskConvolution reading Int8 |  |" in page
    assert "| RepVGG-A0 | fp16 | - | - | - | EngineError: no |" in page
    assert "| RepVGG-A0 | 8 | int8 | 31.0 | 99.00% | - | 0.200 | 0.100 |" in page
    assert "| RepVGG-A0 | 8 | int8 than fp16 | 1.50 | 1.40 to 1.60 |" in page


def test_tables_of_float16_engines() -> None:
    figures = {"sqnr_db": 56.17, "agreement": 1.0, "top1": 0.888}
    engines = {
        "plain": {"finite_answers": 0.0, "largest": 0.0, "figures": None},
        "repaired": {"finite_answers": 1.0, "largest": 34.6, "figures": figures},
        "fp32": {"not_run": "EngineError: no"},
    }
    networks = [{"network": "repvgg", "engines": engines}]
    page = tables.render({"range": {"done": True, "environment": {}, "networks": networks}})
    assert "| repvgg | plain | 0% | 0.0e+00 | - | - | - |  |" in page
    assert "| repvgg | repaired | 100% | 3.5e+01 | 56.2 | 100.00% | 88.80% |  |" in page
    assert "| repvgg | fp32 | - | - | - | - | - | EngineError: no |" in page


def test_what_is_carried_in_parts_comes_out_whole(tmp_path: Path) -> None:
    root, files = tmp_path / "whole", []
    for index, size in enumerate((10, 2500, 0, 900, 1000, 100)):
        files.append(root / f"folder-{index % 2}" / f"file-{index // 2}")  # names that repeat
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_bytes(bytes((i + index) % 251 for i in range(size)))
    carry, out = tmp_path / "carry", tmp_path / "out"
    manifest = parts.pack(files, root, carry, limit=1000)
    assert sum(manifest["parts"].values()) == 4510
    assert list(manifest["parts"].values())[:-1] == [1000] * 4
    for name, size in manifest["parts"].items():
        assert sum(piece.stat().st_size for piece in (carry / name).iterdir()) == size
    assert parts.parts_of(manifest, "folder-1/file-0".__eq__) == ["part-00", "part-01", "part-02"]

    (carry / "part-02").rename(tmp_path / "late")
    there, missing = parts.unpack(carry, out)
    assert "folder-1/file-0" in missing
    assert "folder-0/file-0" in there
    (tmp_path / "late").rename(carry / "part-02")
    there, missing = parts.unpack(carry, out)
    assert not missing
    assert [(out / f.relative_to(root)).read_bytes() for f in files] == [
        f.read_bytes() for f in files
    ]

    piece = carry / manifest["files"]["folder-0/file-0"]["pieces"][0]
    piece.write_bytes(b"damaged   ")
    parts.unpack(carry, out)  # what is there and whole is kept
    (out / "folder-0/file-0").unlink()
    with pytest.raises(ValueError, match="folder-0/file-0 was damaged"):
        parts.unpack(carry, out)
    assert not (out / "folder-0/file-0").exists()


def test_what_prepare_makes_agrees_where_a_cpu_can_run_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    prepare.make(tmp_path, size=33, graphs={"RepVGG-A0": (("fp32", "stages"),)})
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("RepVGG*")}
    prepare.make(tmp_path, size=33, graphs={"RepVGG-A0": (("fp32", "stages"),)})
    assert made == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("RepVGG*")}
    from engine_stage import images_of

    images = images_of(tmp_path)
    assert images.shape == (32, 3, 33, 33)
    np.testing.assert_array_equal(images.astype(np.float16).astype(np.float32), images)
    with np.load(tmp_path / "RepVGG-A0.answers.npz") as answers:
        truth = answers["truth"]
        assert compare(answers["float32"], truth).rel_l2 < 1e-5
    with OnnxRuntimeSession(tmp_path / "RepVGG-A0.fp32.stages.onnx") as session:
        logits, *stages = session.run(images[:8])
    assert compare(logits, truth[:8]).rel_l2 < 1e-5
    assert len(stages) == 5
    assert all((stage > 0).any() for stage in stages)


def test_a_library_loads_with_stubs_for_what_it_is_linked_with(tmp_path: Path) -> None:
    def build(name: str, code: str, *options: str | Path) -> Path:
        source, library = tmp_path / f"{name}.c", tmp_path / name
        source.write_text(code)
        subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library, *options], check=True)
        return library

    def load(library: Path) -> subprocess.CompletedProcess[str]:
        """In a process of its own: the loader remembers which folders were not there."""
        code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).h())"
        return subprocess.run([sys.executable, "-c", code, library], capture_output=True, text=True)

    (tmp_path / "map").write_text("libreal.so.7 { global: *; };\n")
    try:
        real = build(
            "libreal.so.7", "int f(void) {return 5;} int g(void) {return 6;}",
            "-Wl,-soname,libreal.so.7", f"-Wl,--version-script,{tmp_path / 'map'}",
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no gcc")
    user = build("libuser.so", "int f(void); int g(void); int h(void) {return f() + g();}",
                 real, "-Wl,-z,now", "-Wl,-rpath,$ORIGIN/stubs")  # fmt: skip
    real.unlink()
    assert "libreal.so.7: cannot open" in load(user).stderr
    assert set(stubs.symbols_wanted(user)["libreal.so.7"]) == {"f", "g"}
    with pytest.raises(ValueError, match=r"takes nothing from libother\.so"):
        stubs.make_stubs(user, ["libother.so"], tmp_path / "stubs")
    stubs.make_stubs(user, ["libreal.so.7"], tmp_path / "stubs")
    assert load(user).stdout.strip() == "2"  # each says 1


def test_a_launcher_sets_what_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # which the launcher would keep behind its own
    launcher = tmp_path / "a folder" / "python"
    launcher.parent.mkdir()
    install.write_launcher(launcher, sys.executable, {"PYTHONPATH": launcher.parent})
    code = "import os, sys; print(os.environ['PYTHONPATH']); sys.exit(3)"
    done = subprocess.run([launcher, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stdout.strip() == str(launcher.parent.resolve())

"""The command line as a user meets it: its output and its exit codes, most in real processes."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from command_line import ROOT, refused, run, run_in_process

DEMO = ROOT / "docs" / "demo"
CHECKPOINT = DEMO / "digits-repvgg.pth"
PIXELS = ("--size", "32", "--input", "uint8", "--mean", "0.3059", "--std", "0.324")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The digits network, deployed once for all tests that look at what came out."""
    folder = tmp_path_factory.mktemp("deployed") / "out"
    done = run_in_process(
        "deploy", CHECKPOINT, "-o", folder, *PIXELS, "--batch", "1:2:4", "--json",
        "--calibration", DEMO / "calibration.npz", "--evaluate", DEMO / "test.npz",
        "--rounds", "6",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_deploy_makes_every_artefact_and_says_what_ran(
    deployed: tuple[Path, dict[str, Any]],
) -> None:
    folder, result = deployed
    made = {path.name for path in folder.iterdir()}
    assert {
        "fused.safetensors", "model.fp32.onnx", "model.fp32.engine", "model.fp32.mlpackage",
        "deploy.json", "report.html",
    } <= made  # fmt: skip
    assert all(f"{name}.json" in made for name in made if name.startswith(("model", "fused"))
               and not name.endswith(".json"))  # fmt: skip
    assert result["passed"] is True
    ran = {one["runtime"]: one["ran"] for one in result["verify"]["artefacts"]}
    assert ran["onnxruntime"] is True
    assert len(ran) == 3  # the engine and the package too, run or not
    assert json.loads((folder / "deploy.json").read_text()) == result


def test_deploy_reports_the_accuracy_that_training_recorded(
    deployed: tuple[Path, dict[str, Any]],
) -> None:
    recorded = json.loads((DEMO / "training.json").read_text())["results_float32_unfused"]["test"]
    for one in deployed[1]["accuracy"]:
        assert (one["correct"], one["total"]) == (recorded["correct"], recorded["total"]), one


def test_every_artefact_leads_back_to_the_checkpoint(
    deployed: tuple[Path, dict[str, Any]],
) -> None:
    folder, result = deployed
    for entry in result["artefacts"]:
        assert entry["made_from"][-1]["name"] == CHECKPOINT.name
        assert len(entry["made_from"][-1]["sha256"]) == 64
    graph = next(e for e in result["artefacts"] if e["path"] == "model.fp32.onnx")
    for name in ("model.fp32.engine", "model.fp32.mlpackage"):
        entry = next(e for e in result["artefacts"] if e["path"] == name)
        assert entry["made_from"][0]["sha256"] == graph["sha256"]
    record = json.loads((folder / "model.fp32.onnx.json").read_text())
    assert record["parity"]["passed"] is True


def test_bench_in_the_deployment_compares_fused_with_both_unfused_forms(
    deployed: tuple[Path, dict[str, Any]],
) -> None:
    cases = deployed[1]["bench"]["cases"]
    forms = {case["form"] for case in cases if case["backend"] == "onnxruntime"}
    assert forms == {"unfused", "unfused-folded", "fused"}
    assert all(len(case["samples_ms"]) >= 6 for case in cases)
    for ratio in deployed[1]["bench"]["ratios"]:
        assert ratio["ci95"][0] <= ratio["ratio"] <= ratio["ci95"][1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("model.fp32.onnx", "onnx"), ("model.fp32.engine", "engine"),
     ("model.fp32.mlpackage", "coreml"), ("fused.safetensors", "checkpoint")],
)  # fmt: skip
def test_inspect_says_what_each_artefact_is(
    deployed: tuple[Path, dict[str, Any]], name: str, kind: str
) -> None:
    done = run("inspect", deployed[0] / name, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kind"] == kind
    assert result["record"]["made_from"][-1]["name"] == CHECKPOINT.name
    text = run("inspect", deployed[0] / name)
    assert text.returncode == 0
    assert result["sha256"] in text.stdout


def test_verify_passes_on_what_was_deployed_and_fails_on_another_network(
    deployed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    graph = deployed[0] / "model.fp32.onnx"
    good = run("verify", CHECKPOINT, graph, "--json")
    assert good.returncode == 0
    assert json.loads(good.stdout)["passed"] is True
    weights = torch.load(CHECKPOINT, weights_only=True)
    weights["stage3.2.rbr_identity.bias"] += 0.05
    torch.save(weights, tmp_path / "other.pth")
    bad = run("verify", tmp_path / "other.pth", graph, "--json")
    assert bad.returncode == 1, bad.stderr
    assert json.loads(bad.stdout)["passed"] is False


def test_verify_of_an_engine_without_a_gpu_is_a_missing_runtime(
    deployed: tuple[Path, dict[str, Any]],
) -> None:
    engine = next(
        one for one in deployed[1]["verify"]["artefacts"] if one["path"].endswith(".engine")
    )
    if engine["ran"]:
        pytest.skip("there is a GPU: the engine runs")
    done = run("verify", CHECKPOINT, deployed[0] / "model.fp32.engine")
    assert done.returncode == 4
    assert "not run" in done.stdout
    assert engine["why_not"] in done.stderr


def test_build_engine_and_export_coreml_from_an_onnx_file(
    deployed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    graph = deployed[0] / "model.fp32.onnx"
    digest = json.loads((deployed[0] / "model.fp32.onnx.json").read_text())["sha256"]
    for command, name in (("build-engine", "a.engine"), ("export-coreml", "a.mlpackage")):
        done = run(command, graph, "-o", tmp_path / name, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["made_from"][0]["sha256"] == digest


def test_export_onnx_unfused_keeps_every_batchnorm(tmp_path: Path) -> None:
    done = run(
        "export-onnx", CHECKPOINT, "-o", tmp_path / "a.onnx", "--size", "32", "--unfused", "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["operators"]["BatchNormalization"] == 43  # 16 blocks, 11 with an identity
    assert result["parity"]["passed"] is True


def test_fuse_prints_one_json_object_and_a_table_for_people(tmp_path: Path) -> None:
    done = run("fuse", CHECKPOINT, "-o", tmp_path / "a.safetensors", "--json")
    result = json.loads(done.stdout)
    assert len(result["blocks"]) == 16
    assert result["network"]["float64_rel"] < 1e-12
    assert result["left_unfused"] == []
    text = run("fuse", CHECKPOINT, "-o", tmp_path / "a.safetensors", "--quiet")
    assert text.stderr == ""
    assert "stage3.2" in text.stdout


def test_report_renders_what_deploy_wrote(
    deployed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert run("report", deployed[0] / "deploy.json", "-o", page).returncode == 0
    assert "model.fp32.onnx" in page.read_text()
    refused(3, "report", DEMO / "training.json", "-o", page, says="is not the JSON of")


def test_doctor_names_a_fix_for_everything_that_is_missing() -> None:
    result = json.loads(run_in_process("doctor", "--json").stdout)
    assert result["abilities"]
    for ability in result["abilities"]:
        assert ability["ready"] or ability["fix"], ability


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_command(shell: str) -> None:
    done = run_in_process("completion", shell)
    assert done.returncode == 0
    assert "_EDGEREP_COMPLETE" in done.stdout


def test_completion_offers_the_commands() -> None:
    environment = {**os.environ, "_EDGEREP_COMPLETE": "bash_complete",
                   "COMP_WORDS": "edgerep exp", "COMP_CWORD": "1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "edgerep"], capture_output=True, text=True, env=environment
    )
    assert "export-onnx" in done.stdout
    assert "export-coreml" in done.stdout
    assert "doctor" not in done.stdout


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [(2, ("fuse", str(CHECKPOINT)), "Missing option"),
     (3, ("fuse", "no-such.pth", "-o", "o.safetensors"), "does not exist")],
)  # fmt: skip
def test_a_refusal_is_one_message_and_an_exit_code(
    code: int, arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    done = run_in_process(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_has_exit_code_2(tmp_path: Path) -> None:
    refused(2, "export-onx", says="No such command")
    refused(2, "fuse", CHECKPOINT, says="Missing option")
    refused(2, "export-onnx", CHECKPOINT, "-o", tmp_path / "a.onnx", "--batch", "8:1:2",
            says="sizes must be at least 1 and must not fall")  # fmt: skip
    refused(2, "export-onnx", CHECKPOINT, "-o", tmp_path / "a.onnx", "--size", "0", says="HxW")
    refused(2, "export-onnx", CHECKPOINT, "-o", tmp_path / "a.bin", says=".onnx")
    refused(2, "export-onnx", CHECKPOINT, "-o", tmp_path / "a.onnx", "--mean", "1,2,3",
            says="the image 1 channels")  # fmt: skip
    assert list(tmp_path.iterdir()) == []


class _Trap:
    """A pickle of this writes a file when it is read by a reader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save({"state_dict": _Trap(trap)}, tmp_path / "a.pth")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(_Trap(trap)))
    for name in ("a.pth", "b.pt"):
        for command in ("fuse", "export-onnx", "build-engine", "export-coreml", "deploy"):
            suffix = {"fuse": ".safetensors", "export-onnx": ".onnx", "build-engine": ".engine",
                      "export-coreml": ".mlpackage", "deploy": ""}[command]  # fmt: skip
            if name == "b.pt" and command != "fuse":
                continue
            refused(3, command, tmp_path / name, "-o", tmp_path / f"out{suffix}",
                    says="Nothing was run" if name == "a.pth" else name)  # fmt: skip
        refused(3, "inspect", tmp_path / name, says=name)
    assert not trap.exists()
    assert not list(tmp_path.glob("out*"))


def test_unreadable_inputs_have_exit_code_3(tmp_path: Path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(CHECKPOINT.read_bytes()[:300_000])
    refused(3, "fuse", cut, "-o", tmp_path / "o.safetensors", says="cut short")
    weights = torch.load(CHECKPOINT, weights_only=True)
    weights["stage2.1.rbr_dense.bn.running_mean"][0] = float("nan")
    torch.save(weights, tmp_path / "nan.pth")
    refused(3, "fuse", tmp_path / "nan.pth", "-o", tmp_path / "o.safetensors",
            says="stage2.1.rbr_dense.bn.running_mean")  # fmt: skip
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    refused(3, "fuse", tmp_path / "other.pth", "-o", tmp_path / "o.safetensors",
            says="no format that edgerep reads")  # fmt: skip
    refused(3, "fuse", "no-such.pth", "-o", tmp_path / "o.safetensors", says="does not exist")
    refused(3, "fuse", "repvgg_z9", "-o", tmp_path / "o.safetensors", says="RepVGG-A0")
    (tmp_path / "bad.onnx").write_bytes(b"not a graph at all")
    refused(3, "build-engine", tmp_path / "bad.onnx", "-o", tmp_path / "o.engine", says="ONNX")
    refused(3, "inspect", tmp_path / "bad.onnx", says="ONNX")
    (tmp_path / "bad.engine").write_bytes(b"0123456789" * 20)
    refused(3, "inspect", tmp_path / "bad.engine", says="bad.engine")
    (tmp_path / "bad.mlpackage").mkdir()
    refused(3, "inspect", tmp_path / "bad.mlpackage", says="bad.mlpackage")
    refused(3, "inspect", tmp_path / "nothing", says="no such file")
    assert not list(tmp_path.glob("o.*"))


@pytest.fixture
def odd_onnx(tmp_path: Path) -> Path:
    """A valid graph with two operators that no target of edgerep has to know."""
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="first_odd"),
        helper.make_node("Unsqueeze", ["d", "axes"], ["u"], name="even"),
        helper.make_node("Asinh", ["u"], ["y"], name="second_odd"),
    ]
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [onnx.numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )
    path = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_unsupported_operators_are_all_named(odd_onnx: Path, tmp_path: Path) -> None:
    done = run("export-coreml", odd_onnx, "-o", tmp_path / "o.mlpackage")
    assert done.returncode == 3
    assert "first_odd" in done.stderr
    assert "second_odd" in done.stderr
    engine = run("build-engine", odd_onnx, "-o", tmp_path / "o.engine")
    assert engine.returncode == 3
    assert "Det" in engine.stderr
    assert "Traceback" not in done.stderr + engine.stderr
    assert not list(tmp_path.glob("o.*"))


def test_broken_external_data_is_refused(
    deployed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    model = onnx.load(deployed[0] / "model.fp32.onnx")
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").write_bytes(b"short")
    refused(3, "build-engine", path, "-o", tmp_path / "o.engine", says="too short")
    (tmp_path / "weights.bin").unlink()
    refused(3, "export-coreml", path, "-o", tmp_path / "o.mlpackage", says="missing")


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "a.onnx"
    folder.mkdir()
    refused(2, "export-onnx", CHECKPOINT, "-o", folder, "--size", "32", says="is a folder")
    (tmp_path / "file").write_text("kept")
    refused(2, "deploy", CHECKPOINT, "-o", tmp_path / "file", says="is a file")
    refused(3, "fuse", CHECKPOINT, "-o", tmp_path / "file" / "o.safetensors", says="cannot create")
    refused(2, "export-coreml", CHECKPOINT, "-o", tmp_path / "file", says=".mlpackage")
    assert (tmp_path / "file").read_text() == "kept"


def _limited(limit_bytes: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run with a limit on the size of a file: writing more fails as it does on a full disk."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes})); "
        "from edgerep.cli import main; main(sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are a POSIX thing")
@pytest.mark.parametrize(
    ("command", "name", "options"),
    [("fuse", "a.safetensors", ()), ("export-onnx", "a.onnx", ("--size", "32")),
     ("build-engine", "a.engine", ("--size", "32", "--keep-onnx"))],
)  # fmt: skip
def test_a_write_that_fails_keeps_the_previous_artefact(
    command: str, name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / name
    output.write_bytes(b"previous")
    if options[-1:] == ("--keep-onnx",):
        options = (*options, str(tmp_path / "kept.onnx"))
    done = _limited(100_000, command, CHECKPOINT, "-o", output, *options, "--quiet")
    assert done.returncode == 3, done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert output.read_bytes() == b"previous"
    assert {path.name for path in tmp_path.iterdir()} == {name}


@pytest.fixture
def running_deploy(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgerep", "deploy", "repvgg_b1", "-o", str(tmp_path / "out"),
         "--no-bench"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_ctrl_c_while_writing_leaves_nothing_half_written(
    running_deploy: subprocess.Popen[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # Strike while the first big file (198 MiB) is being written beside its place.
    while not list(out.glob(".fused.safetensors.*.partial")):
        assert running_deploy.poll() is None
        time.sleep(0.002)
    running_deploy.send_signal(signal.SIGINT)
    _, errors = running_deploy.communicate()
    assert running_deploy.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors
    left = {path.name for path in out.iterdir()}
    # The file is whole or not there; if the signal came late, its record may be missing.
    assert left <= {"fused.safetensors", "fused.safetensors.json"}, left


@pytest.mark.parametrize("command", ["command", "dropped"])
def test_ctrl_c_is_not_lost_in_a_finalizer_or_in_code_that_drops_it(command: str) -> None:
    code = """
import os, signal, sys, time, click
from edgerep import cli
from edgerep.commands.shared.console import console_options

class Garbage:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)

@click.command()
def command():
    Garbage()
    for _ in range(3000):
        time.sleep(0.01)

@click.command()
@console_options
def dropped(console):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    except KeyboardInterrupt:
        pass
    console.progress("stage", "not reached")

cli.group.get_command = lambda context, name: globals()[name]
cli.main(sys.argv[1:])
"""
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == "edgerep: interrupted; nothing half-written was left"


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m edgerep --help | head -n 1",
        shell=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("Usage")
    assert "Traceback" not in done.stderr


def test_a_network_that_ends_the_program_is_a_failure(tmp_path: Path) -> None:
    """Nothing was made: exit code 0, which it asks for, would say that all is well."""
    (tmp_path / "leaving.py").write_text(
        "import sys\nfrom torch import nn\n\n"
        "class Leaving(nn.Module):\n    def forward(self, x):\n        sys.exit(0)\n"
    )
    done = run("fuse", "-", "--model", "leaving:Leaving", "-o", "o.safetensors", "--json",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 3
    message = json.loads(done.stdout)["error"]["message"]
    assert message.startswith("the network's own code ended the program: SystemExit: 0")
    assert "leaving.py:6" in message


@pytest.mark.parametrize("name", ["weights", "model_best.pth.tar"])
def test_inspect_judges_a_file_of_no_known_suffix_by_its_bytes(name: str, tmp_path: Path) -> None:
    shutil.copy(CHECKPOINT, tmp_path / name)
    assert run("inspect", tmp_path / name).returncode == 0
    (tmp_path / name).write_text("<!doctype html><title>404</title>")
    refused(3, "inspect", tmp_path / name, says="is a web page (“404”)")


@pytest.mark.parametrize("code", [
    "raise type('Own', (BaseException,), {})('mine')",
    *(f"if type(self).calls > {most}: raise ValueError('worn out')" for most in (3, 17)),
])  # fmt: skip
def test_whatever_a_networks_code_raises_and_whenever_is_said_to_be_its_own(
    code: str, tmp_path: Path
) -> None:
    (tmp_path / "odd.py").write_text(
        "from torch import nn\n\n"
        "class Odd(nn.Conv2d):\n    calls = 0\n"
        "    def __init__(self):\n        super().__init__(3, 4, 3)\n"
        "    def forward(self, x):\n        type(self).calls += 1\n"
        f"        {code}\n        return super().forward(x)\n"
    )
    done = run("export-onnx", "-", "--model", "odd:Odd", "-o", "o.onnx", "--size", "32", "--json",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 3
    failure = json.loads(done.stdout)["error"]
    assert "odd.py:9" in failure["message"]
    assert "is at fault" not in failure["message"]
    assert failure["where"] in (None, "odd:Odd")  # and not the 32 that shapes in messages have too


def test_a_current_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); import edgerep.cli as c; c.main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "fuse", str(CHECKPOINT), "-o", "o.safetensors"],
        capture_output=True, text=True, cwd=gone, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("edgerep: error: the current folder is gone: change into one")

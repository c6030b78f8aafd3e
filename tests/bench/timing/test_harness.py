"""The bench as a whole, on a network that runs in a fraction of a millisecond."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgerep.bench.memory.memory import Memory, module_weights_bytes
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.timing.cases import BenchResult, Case, NotRun, Ratio
from edgerep.bench.timing.harness import run_bench
from edgerep.bench.timing.intervals import speedup
from edgerep.bench.timing.ratios import labels_of, ratios_of
from edgerep.bench.timing.result_file import read_result, result_from_json, write_result
from edgerep.bench.timing.rounds import Samples
from edgerep.bench.timing.subjects import Options, subject_of
from edgerep.errors import CheckpointError, EdgerepError, OptionError
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.fused_weights import save_weights
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused, fuse
from edgerep.networks.repvgg import RepVGG, random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

TINY = Architecture(3, 8, (8, 16), (1, 2), (1, 1, 1, 1), squeeze=False, classes=5)
FAST: dict[str, Any] = {"rounds": 6, "size": 32, "threads": 1, "warmup_seconds": 0.0,
                        "min_round_seconds": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> RepVGG:
    return random_repvgg(TINY)


@pytest.fixture(scope="module")
def fused(model: RepVGG) -> Fused:
    return fuse(model)


@pytest.fixture(scope="module")
def graphs(model: RepVGG, fused: Fused, tmp_path_factory: pytest.TempPathFactory) -> list[Graph]:
    folder = tmp_path_factory.mktemp("graphs")
    return [
        export_onnx(model, folder / "unfused.onnx", size=32),
        export_onnx(model, folder / "folded.onnx", size=32, fold_batchnorm=True),
        export_onnx(fused, folder / "fused.onnx", size=32, batch=(1, 2, 4)),
    ]


@pytest.fixture(scope="module")
def result(model: RepVGG, fused: Fused, graphs: list[Graph]) -> BenchResult:
    given = [model, fused, graphs[0], graphs[1], graphs[2].path]
    return run_bench(given, batch=[1, 2], memory=False, **FAST)


@pytest.fixture(scope="module")
def result_with_memory(model: RepVGG, graphs: list[Graph]) -> BenchResult:
    return run_bench([model, graphs[2]], **FAST)


def test_every_subject_is_a_case_or_says_why_not(result: BenchResult) -> None:
    assert [case.key for case in result.cases] == [
        "unfused/torch/fp32/b1",
        "fused/torch/fp32/b1",
        "unfused/onnxruntime/fp32/b1",
        "unfused-folded/onnxruntime/fp32/b1",
        "fused/onnxruntime/fp32/b1",
        "unfused/torch/fp32/b2",
        "fused/torch/fp32/b2",
        "fused/onnxruntime/fp32/b2",
    ]
    assert [(one.subject, one.why.split(":")[0]) for one in result.not_run] == [
        ("unfused/onnxruntime/fp32/b2", "made for batch 1, not 2"),
        ("unfused-folded/onnxruntime/fp32/b2", "made for batch 1, not 2"),
    ]


def test_ratios_compare_what_differs_in_form(result: BenchResult) -> None:
    assert [(ratio.of, ratio.over) for ratio in result.ratios] == [
        ("fused/torch/fp32/b1", "unfused/torch/fp32/b1"),
        ("fused/onnxruntime/fp32/b1", "unfused/onnxruntime/fp32/b1"),
        ("fused/onnxruntime/fp32/b1", "unfused-folded/onnxruntime/fp32/b1"),
        ("fused/torch/fp32/b2", "unfused/torch/fp32/b2"),
    ]
    cases = {case.key: case for case in result.cases}
    for ratio in result.ratios:
        of, over = cases[ratio.of], cases[ratio.over]
        assert ratio.ratio == pytest.approx(over.p50_ms / of.p50_ms)
        found = speedup(of.samples, over.samples)
        assert (ratio.ci95, ratio.verdict) == ((found.low, found.high), found.verdict)


def test_memory_of_every_case_is_measured(
    result_with_memory: BenchResult, model: RepVGG, fused: Fused
) -> None:
    unfused, graph = (case.memory for case in result_with_memory.cases)
    assert unfused is not None
    assert graph is not None
    for memory in (unfused, graph):
        assert memory.peak_bytes is not None, memory.how
        assert memory.peak_bytes > 0
    assert unfused.weights_bytes == module_weights_bytes(model)
    # The graph adds shapes and the like to the same weights.
    plain = module_weights_bytes(fused.module)
    assert plain <= (graph.weights_bytes or 0) < plain + 1000


def test_json_has_the_fields_of_the_contract(
    result: BenchResult, result_with_memory: BenchResult
) -> None:
    fields = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert fields["schema"] == 1
    assert {"environment", "cases", "ratios"} <= fields.keys()
    case = fields["cases"][0]
    assert {"form", "backend", "precision", "batch", "samples_ms", "p50_ms", "p90_ms", "p99_ms",
            "throughput_per_s", "memory"} <= case.keys()  # fmt: skip
    assert case["memory"] is None
    memory = result_with_memory.to_json()["cases"][0]["memory"]
    assert memory.keys() == {"weights_bytes", "activations_bytes", "peak_bytes", "how"}
    assert fields["ratios"][0].keys() == {"of", "over", "ratio", "ci95", "verdict"}
    assert fields["settings"]["rounds"] == 6
    assert fields["environment"]["load_average_after"] is not None or sys.platform == "win32"
    assert len(case["samples_ms"]) == 6 * case["samples_per_round"]


def test_json_is_read_back_unchanged(
    result: BenchResult, result_with_memory: BenchResult, tmp_path: Path
) -> None:
    path = tmp_path / "bench.json"
    for one in (result, result_with_memory):
        write_result(one, path)
        assert read_result(path) == one


def test_statistics_are_those_of_the_samples() -> None:
    case = known_case("fused", [[2_000_000], [4_000_000], [9_000_000]], batch=8)
    assert (case.p50_ms, case.p90_ms, case.p99_ms) == (4.0, 8.0, None)
    assert case.throughput_per_s == 2000
    assert known_case("fused", [[5] * 331, [5] * 331]).p99_ms == 5e-6


TORN = {
    "key": "x", "form": "fused", "p50_ms": 2, "samples_ms": [1, 2, 3], "samples_per_round": 2
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"schema": 2}', "reads schema 1"),
        ("[]", "not a result of `edgerep bench`"),
        ('{"schema": 1, "cases": []}', "not a result of `edgerep bench`"),
        (
            json.dumps({"schema": 1, "environment": {}, "ratios": [], "cases": [TORN]}),
            "3 samples are no rounds of 2",
        ),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(EdgerepError, match=message):
        read_result(path)
    with pytest.raises(EdgerepError, match="cannot read"):
        read_result(tmp_path / "absent.json")


def test_torch_threads_are_left_as_they_were(model: RepVGG) -> None:
    before = torch.get_num_threads()
    other = 1 if before > 1 else 2
    run_bench([model], memory=False, **{**FAST, "threads": other})
    assert torch.get_num_threads() == before


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML predicts here")
def test_a_package_is_not_timed_by_the_interpreter(model: RepVGG, tmp_path: Path) -> None:
    package = tmp_path / "a.mlpackage"
    package.mkdir()
    result = run_bench([model, package], memory=False, **FAST)
    assert len(result.cases) == 1
    assert [one.subject for one in result.not_run] == ["a.mlpackage"]
    assert "macOS only" in result.not_run[0].why


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU")
def test_an_engine_without_a_gpu_is_not_run(model: RepVGG, fused: Fused, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="an engine is built without a GPU by TensorRT-RTX")
    from edgerep.export.engine.building import build_engine

    graph = export_onnx(fused, tmp_path / "fused.onnx", size=32)
    engine = build_engine(graph, tmp_path / "fused.engine")
    result = run_bench([model, engine, engine.path], memory=False, **FAST)
    assert [case.key for case in result.cases] == ["unfused/torch/fp32/b1"]
    assert [one.subject for one in result.not_run] == ["fused.engine", "fused.engine"]
    assert all(one.why for one in result.not_run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_said(model: RepVGG, graphs: list[Graph]) -> None:
    result = run_bench([model, graphs[0]], device="cuda", memory=False, **FAST)
    assert [case.backend for case in result.cases] == ["onnxruntime"]
    assert "no CUDA device" in result.not_run[0].why


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 5}, "too few for a 95 % interval"),
        ({"batch": 0}, "at least 1"),
        ({"batch": ()}, "at least 1"),
        ({"threads": -1}, "must be positive"),
        ({"size": 0}, "must be positive"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, model: RepVGG) -> None:
    with pytest.raises(OptionError, match=message):
        run_bench([model], **options)


def test_wrong_subjects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="nothing to time"):
        run_bench([])
    with pytest.raises(OptionError, match="a int cannot be timed"):
        run_bench([7])
    with pytest.raises(OptionError, match=r"absent\.onnx does not exist"):
        run_bench([tmp_path / "absent.onnx"])


class Grey(nn.Module):
    """A network of the user's own, in training mode, with one image channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


def test_a_network_of_the_users_own_is_timed_and_untouched() -> None:
    net = Grey()
    mean = net.norm.running_mean
    assert mean is not None
    before = mean.clone()
    result = run_bench([net], memory=False, **FAST)
    assert [case.key for case in result.cases] == ["unfused/torch/fp32/b1"]
    assert net.training
    assert torch.equal(mean, before)


def test_a_name_of_an_architecture_is_a_subject() -> None:
    subject = subject_of("repvgg_a0", Options((32, 32), 1, "cpu"))
    assert (subject.name, subject.form, subject.runtime) == ("RepVGG-A0", "unfused", "torch")


def test_a_file_of_weights_is_the_network_at_the_size_asked_for(
    fused: Fused, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(fused, path)
    shapes = [(3, 24, 40)]
    options = Options((32, 32), 1, "cpu", input_shapes=shapes)
    assert subject_of(path, options).inputs[0].shape == (None, 3, 24, 40)
    assert subject_of(str(path), Options((32, 48), 1, "cpu")).inputs[0].shape == (None, 3, 32, 48)
    with pytest.raises(CheckpointError, match="does not exist"):
        subject_of(tmp_path / "gone.pth", options)


def test_a_module_with_a_path_of_its_own_is_no_file(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    (tmp_path / "a.onnx").write_bytes(b"not a graph")
    for path in (str(tmp_path / "a.onnx"), tmp_path / "a.onnx", "gone.pth"):
        net.path = path  # type: ignore[assignment]  # a user's own attribute
        assert subject_of(net, Options((8, 8), 1, "cpu")).module is net


def test_a_network_of_plain_blocks_is_fused(fused: Fused) -> None:
    assert subject_of(fused.module, Options((32, 32), 1, "cpu")).form == "fused"


def known_case(form: str, rounds_ns: list[list[int]], **fields: Any) -> Case:
    batch = fields.pop("batch", 1)
    case = Case(
        key=f"{form}/torch/fp32/b{batch}", name="n", form=form, backend="torch", precision="fp32",
        batch=batch, samples=Samples(tuple(map(tuple, rounds_ns))), how="by hand",
    )  # fmt: skip
    return replace(case, **fields)


def like(subject: Runnable, **fields: Any) -> Runnable:
    return replace(subject, **fields)


def test_known_samples_give_known_verdicts(model: RepVGG) -> None:
    subject = subject_of(model, Options((32, 32), 1, "cpu"))
    slow, fast = [[30]] * 8, [[20]] * 8
    timed = [
        (known_case("unfused", slow), subject),
        (known_case("unfused-folded", fast), subject),
        (known_case("fused", fast), subject),
        (known_case("fused", [[25]] * 8, precision="fp16", key="half"), subject),
        (known_case("fused", [[1]] * 8, backend="other", key="elsewhere"), subject),
    ]
    assert list(ratios_of(timed, 0)) == [
        Ratio("fused/torch/fp32/b1", "unfused/torch/fp32/b1", 1.5, (1.5, 1.5), "faster"),
        Ratio("fused/torch/fp32/b1", "unfused-folded/torch/fp32/b1", 1, (1, 1), "no difference"),
        Ratio("half", "fused/torch/fp32/b1", 0.8, (0.8, 0.8), "slower"),
    ]


def test_two_networks_are_not_compared(model: RepVGG) -> None:
    subject = subject_of(model, Options((32, 32), 1, "cpu"))
    unfused, fast = known_case("unfused", [[30]] * 8), known_case("fused", [[20]] * 8)
    one, other = like(subject, network="aa"), like(subject, network="bb")
    assert not list(ratios_of([(unfused, one), (fast, other)], 0))
    assert len(list(ratios_of([(unfused, one), (fast, one)], 0))) == 1


def test_keys_tell_equal_subjects_apart(model: RepVGG) -> None:
    subject = subject_of(model, Options((32, 32), 1, "cpu"))
    named = [like(subject, name=name) for name in ("a", "b", "b")]
    assert labels_of([*named, like(subject, form="fused")]) == [
        "unfused:a/torch/fp32",
        "unfused:b/torch/fp32",
        "unfused:b/torch/fp32#2",
        "fused/torch/fp32",
    ]


def test_result_without_memory_or_ratios_is_read() -> None:
    result = BenchResult(
        {}, {}, (known_case("fused", [[2], [3]]),), (), (NotRun("x", "y"),), ("w",)
    )
    assert result_from_json(result.to_json()) == result
    with_memory = replace(result.cases[0], memory=Memory(1, None, None, "not measured"))
    kept = result_from_json(replace(result, cases=(with_memory,)).to_json())
    assert kept.cases == (with_memory,)

"""A network of the user's own goes down the whole path: `--model package.module:callable`."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgerep
from command_line import Done, run, run_in_process
from edgerep.errors import CheckpointError, EdgerepError, NetworkError, OptionError
from edgerep.networks.network import origin_of

ROOT = Path(__file__).parents[2]
MODULE = '''
import torch
from torch import nn

from edgerep.networks.repvgg_architecture import BlockPlan
from edgerep.networks.layers import randomise_batchnorm
from edgerep.networks.repvgg import TrainBlock


def block(inside, outside, stride):
    return TrainBlock(BlockPlan("block", inside, outside, stride, 1, False))


class Small(nn.Module):
    """RepVGG-like; has an attribute that edgerep uses for networks of its own."""

    origin = "here"

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(block(3, 8, 2), block(8, 8, 1))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.backbone(x).mean((2, 3)))


class Two(nn.Module):
    """Two images and a vector; the first is named like a parameter of its own layers."""

    def __init__(self):
        super().__init__()
        self.colour, self.depth = block(3, 8, 2), block(1, 8, 2)
        self.mix, self.head = nn.Linear(6, 4), nn.Linear(12, 5)

    def forward(self, weight, depth, vector):
        pooled = (self.colour(weight) + self.depth(depth)).mean((2, 3))
        return self.head(torch.cat([pooled, self.mix(vector)], 1))


class Nested(nn.Module):
    """A dictionary of lists, of very different scales, with a None and a class number."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = block(3, 8, 2), block(8, 8, 2)
        self.scores, self.boxes = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        self.unused = nn.Conv2d(8, 2, 1)

    def forward(self, image):
        fine = self.stem(image)
        coarse = self.body(fine)
        self.unused(coarse)
        return {
            "scores": [self.scores(fine), self.scores(coarse)],
            "boxes": (1000 * self.boxes(fine), self.boxes(coarse)),
            "nothing": None,
            "label": self.scores(coarse).mean((2, 3)).argmax(1),
        }


class Signal(nn.Module):
    """No image at all: channels and time."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 3, 5, padding=2)
        self.norm = nn.BatchNorm1d(3)
        self.block = block(3, 4, 1)

    def forward(self, signal):
        return self.block(self.norm(self.first(signal)).relu().unsqueeze(2)).flatten(1)


class Rootless(nn.Module):
    """Every name begins with the prefix that reading a checkpoint removes."""

    def __init__(self):
        super().__init__()
        self.backbone = Small()

    def forward(self, x):
        return self.backbone(x)


def built(kind):
    torch.manual_seed(0)
    network = kind()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            randomise_batchnorm(part)
    return network


def small():
    return built(Small)


def two():
    return built(Two)


def nested():
    return built(Nested)


def signal():
    return built(Signal)


def rootless():
    return built(Rootless)


def raises():
    raise ValueError("no such width\\nsecond line")


def number():
    return 3


def lazy():
    return nn.LazyConv2d(3, 1)


network = nn.Linear(1, 1)
'''
SHAPES = {
    "small": ("--size", "32"),
    "two": ("--input-shape", "weight=3x32x32", "--input-shape", "depth=1x32x32",
            "--input-shape", "vector=6"),
    "nested": ("--size", "32"),
    "signal": ("--input-shape", "2x50"),
}  # fmt: skip
OUTPUTS = {"small": 1, "two": 1, "nested": 5, "signal": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder, with the package `ownnets` in it."""
    place = tmp_path_factory.mktemp("user")
    (place / "ownnets").mkdir()
    (place / "ownnets" / "__init__.py").write_text("")
    (place / "ownnets" / "zoo.py").write_text(MODULE)
    (place / "ownnets" / "broken.py").write_text("import notinstalledanywhere\n")
    (place / "ownnets" / "wrong.py").write_text("raise SystemExit(0)\n")
    return place


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process, as if started in the user's folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("ownnets"):
            del sys.modules[name]


def command(folder: Path, *arguments: str | Path) -> Done:
    return run(*arguments, cwd=folder)


def test_a_callable_is_imported_from_the_current_folder_and_called(inside: Path) -> None:
    network = edgerep.load("-", model="ownnets.zoo:small")
    assert type(network).__name__ == "Small"
    assert not any(part.training for part in network.modules())
    assert network.origin == "here"  # the class's own
    origin = origin_of(network)
    assert origin is not None
    assert (origin.source, origin.sha256, origin.network) == (
        "ownnets.zoo:small", None, "ownnets.zoo:small",
    )  # fmt: skip
    assert origin_of(copy.deepcopy(network)) == origin


@pytest.mark.parametrize("name", ["small", "rootless"])
def test_weights_come_from_a_checkpoint_however_it_was_wrapped(
    name: str, inside: Path, tmp_path: Path
) -> None:
    trained = edgerep.load("-", model=f"ownnets.zoo:{name}")
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.5)
    state = {
        f"module.{key}": tensor.clone() for key, tensor in trained.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }  # fmt: skip
    torch.save({"state_dict": state}, tmp_path / "trained.pth")
    loaded = edgerep.load(tmp_path / "trained.pth", model=f"ownnets.zoo:{name}")
    for key, tensor in loaded.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(tensor, trained.state_dict()[key]), key
    origin = origin_of(loaded)
    assert origin is not None
    assert (origin.source, origin.network) == ("trained.pth", f"ownnets.zoo:{name}")
    assert len(origin.sha256 or "") == 64


def test_every_wrong_key_is_named_at_once(inside: Path, tmp_path: Path) -> None:
    state = dict(edgerep.load("-", model="ownnets.zoo:small").state_dict())
    del state["head.bias"]
    state["head.weight"] = torch.zeros(5, 9)
    state["neck.weight"] = torch.zeros(2)
    state["backbone.0.rbr_1x1.bn.weight"] = torch.zeros(8, dtype=torch.int64)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as caught:
        edgerep.load(tmp_path / "other.pth", model="ownnets.zoo:small")
    for line in (
        "missing: head.bias [5]",
        "unexpected: neck.weight [2]",
        "misshapen: head.weight is [5, 9], should be [5, 8]",
        "backbone.0.rbr_1x1.bn.weight is torch.int64, should be torch.float32",
        "ownnets.zoo:small",
    ):
        assert line in str(caught.value)


def test_values_that_are_no_trained_network_are_refused(inside: Path, tmp_path: Path) -> None:
    state = dict(edgerep.load("-", model="ownnets.zoo:small").state_dict())
    state["head.bias"] = torch.tensor([0, float("nan"), 1, float("inf"), 2])
    state["backbone.0.rbr_1x1.bn.running_var"] = torch.full((8,), -1.0)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError) as caught:
        edgerep.load(tmp_path / "bad.pth", model="ownnets.zoo:small")
    for line in ("head.bias has 1 NaN and 1 infinite values of 5", "running_var + eps"):
        assert line in str(caught.value)


def test_eps_is_the_networks_own_unless_given(inside: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=0.25))

    for given, eps in ((None, 0.25), (1e-3, 1e-3)):
        norm = edgerep.load("-", model=build, bn_eps=given).get_submodule("1")
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.eps == eps
    with pytest.raises(OptionError, match="eps"):
        edgerep.load("-", model=build, bn_eps=-1.0)


REFUSALS = {
    "ownnets.zoo": (OptionError, "is not package.module:callable"),
    "ownnets.zoo:a-b": (OptionError, "is not package.module:callable"),
    "nosuchpackage.zoo:small": (NetworkError, "there is no module `nosuchpackage` to import"),
    "ownnets.missing:small": (NetworkError, "there is no module `ownnets.missing` to import"),
    "ownnets.broken:small": (NetworkError, "needs the package `notinstalledanywhere`"),
    "ownnets.wrong:small": (NetworkError, "importing ownnets.wrong fails: SystemExit: 0"),
    "ownnets.zoo:huge": (NetworkError, "there is no `huge`; ownnets.zoo has block, Small, Two"),
    "ownnets.zoo:MODULE": (NetworkError, "there is no `MODULE`"),
    "ownnets.zoo:network": (NetworkError, "is a network already"),
    "ownnets.zoo:raises": (NetworkError, "fails: ValueError: no such width"),
    "ownnets.zoo:number": (NetworkError, "built no torch.nn.Module: it returned int"),
    "ownnets.zoo:lazy": (NetworkError, "not decided yet (weight, bias)"),
}


@pytest.mark.parametrize("spec", REFUSALS)
def test_what_builds_no_network_is_refused_in_one_message(spec: str, inside: Path) -> None:
    kind, words = REFUSALS[spec]
    with pytest.raises(EdgerepError) as caught:
        edgerep.load("-", model=spec)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SHAPES)
def test_export_and_verify_on_the_command_line(name: str, folder: Path, tmp_path: Path) -> None:
    model = ("--model", f"ownnets.zoo:{name}")
    graph = tmp_path / "a.onnx"
    made = command(
        folder, "export-onnx", "-", *model, *SHAPES[name], "-o", graph, "--batch", "1:2:5", "--json"
    )
    assert made.returncode == 0, made.stderr
    result = json.loads(made.stdout)
    (found,) = result["parity"]["artefacts"]
    assert (found["passed"], found["runtime"]) == (True, "onnxruntime")
    assert [b["batch"] for b in found["batches"]] == [1, 2, 3, 4, 5]
    assert len(found["outputs"]) == OUTPUTS[name]
    assert all(output["passed"] for output in found["outputs"])
    assert result["form"] == "fused"
    record = json.loads((tmp_path / "a.onnx.json").read_text())
    assert record["made_from"][-1]["network"] == f"ownnets.zoo:{name}"
    assert f"ownnets.zoo:{name}" in command(folder, "inspect", graph).stdout
    again = command(folder, "verify", "-", graph, *model, "--batch", "3", "--json")
    assert again.returncode == 0, again.stderr


def test_float16_of_several_outputs_agrees(folder: Path, tmp_path: Path) -> None:
    made = command(
        folder, "export-onnx", "-", "--model", "ownnets.zoo:nested", "--size", "32", "--precision",
        "fp16", "-o", tmp_path / "a.onnx", "--json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    outputs = json.loads(made.stdout)["parity"]["artefacts"][0]["outputs"]
    scales = [output["tolerance"]["max_abs"] for output in outputs]
    assert scales[2] > 50 * scales[3]  # boxes times 1000: each output has its own scale
    assert scales[4] == 0  # class numbers are exact


@pytest.mark.parametrize("name", ["two", "nested"])
def test_an_engine_is_built(name: str, folder: Path, tmp_path: Path) -> None:
    done = command(
        folder, "build-engine", "-", "--model", f"ownnets.zoo:{name}", *SHAPES[name],
        "-o", tmp_path / "a.engine", "--batch", "1:2:4", "--runtime", "tensorrt-rtx", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["outputs"]) == OUTPUTS[name]
    assert result["made_from"][-1]["network"] == f"ownnets.zoo:{name}"
    graph = result["parity"]["artefacts"][0]
    assert graph["passed"] is True


def test_a_network_of_three_inputs_is_deployed_and_timed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_in_process(
        "deploy", "-", "--model", "ownnets.zoo:two", *SHAPES["two"], "-o", out,
        "--batch", "2", "--rounds", "6", "--json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    ran = {one["runtime"]: one["passed"] for one in result["verify"]["artefacts"] if one["ran"]}
    assert ran["onnxruntime"] is True
    assert len(ran) >= 2  # the package too, by Core ML or by the reference interpreter
    cases = result["bench"]["cases"]
    assert {(case["form"], case["backend"]) for case in cases} >= {
        ("unfused", "torch"), ("fused", "torch"), ("unfused", "onnxruntime"),
        ("fused", "onnxruntime"),
    }  # fmt: skip
    assert all(case["memory"]["peak_bytes"] for case in cases)  # measured in another process
    for entry in result["artefacts"]:
        assert entry["made_from"][-1]["name"] == "ownnets.zoo:two"
    inspected = command(folder, "inspect", out / "fused.safetensors")
    assert inspected.returncode == 0, inspected.stderr
    assert "ownnets.zoo:two" in inspected.stdout


def test_accuracy_is_for_classifiers(folder: Path, tmp_path: Path) -> None:
    images = np.zeros((2, 3, 32, 32), np.float32)
    np.savez(tmp_path / "labelled.npz", images=images, labels=np.array([0, 1]))
    for name in ("nested", "two"):
        done = command(
            folder, "deploy", "-", "--model", f"ownnets.zoo:{name}", *SHAPES["nested"],
            "-o", tmp_path / "out", "--evaluate", tmp_path / "labelled.npz",
        )  # fmt: skip
        assert done.returncode == 3
        assert "accuracy needs a" in done.stderr
        assert not (tmp_path / "out").exists()
    several = command(
        folder, "deploy", "-", "--model", "ownnets.zoo:two", *SHAPES["two"],
        "-o", tmp_path / "out", "--evaluate", tmp_path / "labelled.npz",
    )  # fmt: skip
    assert several.returncode == 2
    assert "takes one image" in several.stderr


def test_fuse_takes_a_checkpoint_of_an_own_network(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    first = command(folder, "fuse", "-", "--model", "ownnets.zoo:small", "-o", path, "--json")
    assert first.returncode == 0, first.stderr
    assert len(json.loads(first.stdout)["blocks"]) == 2
    refused = command(
        folder, "fuse", path, "--model", "ownnets.zoo:small", "-o", tmp_path / "b.safetensors"
    )
    assert refused.returncode == 3
    assert "missing: backbone.0.rbr_dense.conv.weight" in refused.stderr
    compared = command(folder, "verify", "-", path, "--model", "ownnets.zoo:small")
    assert compared.returncode == 0, compared.stderr
    assert "weights.safetensors: agrees (torch)" in compared.stderr


WRONG_USES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no model": (("-",), 2, "give a --model"),
    "malformed": (("-", "--model", "ownnets"), 2, "package.module:callable"),
    "not there": (("-", "--model", "ownnets.zoo:huge"), 3, "there is no `huge`"),
    "too few shapes": (("-", "--model", "ownnets.zoo:two"), 2, "takes 3 input(s)"),
    "unknown name": (
        ("-", "--model", "ownnets.zoo:small", "--input-shape", "y=3x32x32"), 2, "takes x;",
    ),
    "half named": (
        ("-", "--model", "ownnets.zoo:two", "--input-shape", "weight=3x8x8", "--input-shape",
         "1x8x8"), 2, "name each input once",
    ),
    "size twice": (
        ("-", "--model", "ownnets.zoo:small", "--input-shape", "3x8x8", "--size", "8"), 2,
        "--input-shape and --size",
    ),
    "no shape": (("-", "--model", "ownnets.zoo:small", "--input-shape", "3x0"), 2, "'3x0'"),
    "pixels": (
        ("-", "--model", "ownnets.zoo:two", *SHAPES["two"], "--input", "uint8"), 2, "one image",
    ),
    "no such file": (("gone.pth", "--model", "ownnets.zoo:small"), 3, "does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("use", WRONG_USES)
def test_wrong_use_is_one_message_and_the_documented_code(
    use: str, folder: Path, tmp_path: Path
) -> None:
    arguments, code, words = WRONG_USES[use]
    done = command(folder, "export-onnx", *arguments, "-o", tmp_path / "a.onnx", "--unfused")
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_file_takes_neither_model_nor_shape(folder: Path, tmp_path: Path) -> None:
    graph = edgerep.export_onnx(nn.Conv2d(3, 4, 1).eval(), tmp_path / "a.onnx", size=8).path
    done = command(
        folder, "export-onnx", graph, "--model", "ownnets.zoo:small", "-o", tmp_path / "b.onnx"
    )
    assert done.returncode == 2
    assert "is an ONNX file, which has its own network" in done.stderr

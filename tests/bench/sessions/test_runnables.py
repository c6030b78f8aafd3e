"""One description of every network and file: its ends, its kind, and how it is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgerep
from edgerep.artefacts.batches import BatchProfile
from edgerep.bench.sessions.runnables import open_runnable, runnable_module
from edgerep.errors import EdgerepError
from edgerep.export.fused_weights import save_weights
from edgerep.export.graph.onnx_file import Graph
from edgerep.fusion.fused import Fused
from edgerep.networks.network import form_of
from edgerep.networks.repvgg import RepVGG, random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

TINY = Architecture(
    image_channels=3, stem_width=8, widths=(8, 16), depths=(1, 1), groups=(1, 1, 1),
    squeeze=False, classes=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> RepVGG:
    return random_repvgg(TINY)


@pytest.fixture(scope="module")
def fused(model: RepVGG) -> Fused:
    return edgerep.fuse(model)


@pytest.fixture(scope="module")
def graph(fused: Fused, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("graph") / "tiny.onnx"
    return edgerep.export_onnx(fused, path, size=16, batch=(1, 2, 4))


def test_a_graph_says_its_ends_and_takes_any_batch(graph: Graph) -> None:
    runnable = open_runnable(graph.path)
    assert (runnable.kind, runnable.name, runnable.title) == (
        "onnx", "tiny.onnx", str(graph.path)
    )  # fmt: skip
    assert (runnable.form, runnable.runtime, runnable.precision) == ("fused", "onnxruntime", "fp32")
    assert (runnable.inputs, runnable.outputs) == (graph.inputs, graph.outputs)
    assert runnable.batch == BatchProfile(1, 2, 4)
    assert runnable.takes(64)  # ONNX Runtime does, with a dynamic batch
    assert runnable.why_not is None


def test_an_engine_takes_its_profile_only(graph: Graph, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    engine = edgerep.build_engine(graph, tmp_path / "tiny.engine", runtime="tensorrt-rtx")
    runnable = open_runnable(engine)
    assert (runnable.kind, runnable.runtime, runnable.form) == ("engine", "tensorrt-rtx", "fused")
    assert [size for size in (1, 2, 3, 4, 5) if runnable.takes(size)] == [1, 2, 3, 4]
    assert runnable.network is None  # random weights come from no checkpoint


def test_threads_and_device_reach_the_session(graph: Graph, model: RepVGG) -> None:
    image = np.zeros((1, 3, 16, 16), dtype=np.float32)
    module = runnable_module(model, form="unfused", size=16)
    for runnable in (open_runnable(graph), module):
        with runnable.open(threads=1) as session:
            assert "1 thread" in session.how
            assert session.run(image)[0].shape == (1, 5)
    with pytest.raises(EdgerepError, match="nonsense"):
        module.open(device="nonsense")


def test_a_module_is_described_by_what_it_takes(model: RepVGG, fused: Fused) -> None:
    runnable = runnable_module(model, form="unfused", size=(16, 24))
    assert (runnable.kind, runnable.path, runnable.name) == ("module", None, model.title)
    assert [spec.shape for spec in runnable.inputs] == [(None, 3, 16, 24)]
    assert runnable.takes(7)
    assert runnable.module is model
    assert (form_of(model), form_of(fused.module), form_of(nn.Linear(1, 1))) == (
        "unfused", "fused", "unfused"
    )  # fmt: skip
    half = runnable_module(model.half(), form="unfused", size=16)
    assert half.precision == "fp16"
    model.float()


def test_fused_weights_are_the_network_that_they_load_as(fused: Fused, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_weights(fused, path)
    runnable = open_runnable(path)
    assert (runnable.kind, runnable.form, runnable.path) == ("weights", "fused", path)
    assert runnable.inputs[0].shape == (None, 3, 17, 17)  # twice the stride, and one
    image = torch.randn(2, 3, 17, 17)
    with runnable.open() as session:
        found = session.run(image.numpy())[0]
    with torch.inference_mode():
        assert np.allclose(found, fused.module(image).numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["net.zip", "repvgg_a0", "net"])
def test_other_files_are_refused_with_the_kinds_that_are_known(name: str, tmp_path: Path) -> None:
    with pytest.raises(EdgerepError, match=r"no artefact that can be run: .*\.onnx, \.mlpackage"):
        open_runnable(tmp_path / name)

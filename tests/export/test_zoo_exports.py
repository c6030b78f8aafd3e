"""Detectors with their decoding, super-resolution and a U-Net go down the whole path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import edgerep
from zoo.counting import count_calls
from zoo.exported import EXPORTED

HALF = ("ecbsr", "unet")


@pytest.mark.parametrize("name", EXPORTED)
def test_a_network_with_its_decoding_reaches_every_target(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    entry = EXPORTED[name]
    x = torch.randn(2, *entry.shape)
    model = entry.made()
    fused = edgerep.fuse(model, inputs=x)
    calls = count_calls(fused.module, x)
    assert (calls.conv, calls.bn) == (entry.convs, 0)
    graph = edgerep.export_onnx(
        fused,
        tmp_path / "m.onnx",
        input_shapes=[entry.shape],
        batch=(1, 2, 3),
        precision="fp16" if name in HALF else "fp32",
    )
    engine = edgerep.build_engine(graph, tmp_path / "m.engine", runtime="tensorrt-rtx")
    package = edgerep.export_coreml(graph, tmp_path / "m.mlpackage")
    assert package.batch == graph.batch
    report = edgerep.verify(model, [graph, engine, package])
    assert len([artefact for artefact in report.artefacts if artefact.ran]) >= 2
    report.require()

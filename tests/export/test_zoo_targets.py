"""Every kind of network of the zoo, fused, reaches every target: graph, engine, package, parity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import edgerep
from zoo.randomising import randomise
from zoo.zoo import NETWORKS

DYNAMIC = ("mobileone_s1", "repvit_m0_9", "fastvit_sa12")
HALF = ("mobileone_s4", "fastvit_t8")
WIDER = ("mobileone_s2", "mobileone_s3")  # the operators of s1, on more channels


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in WIDER])
def test_a_network_of_the_zoo_reaches_every_target(name: str, tmp_path: Path) -> None:
    entry = NETWORKS[name]
    shape = entry.shapes()[0]
    x = torch.randn(shape)
    model = randomise(entry.build(), 0, (x,))
    fused = edgerep.fuse(model, inputs=x)
    assert fused.certificate is not None
    graph = edgerep.export_onnx(
        fused,
        tmp_path / "model.onnx",
        size=(shape[2], shape[3]),
        channels=shape[1],
        batch=(1, 2, 3) if name in DYNAMIC else 2,
        precision="fp16" if name in HALF else "fp32",
    )
    assert graph.form == "fused"
    assert graph.operators.get("BatchNormalization", 0) == fused.certificate.batchnorms_left
    engine = edgerep.build_engine(graph, tmp_path / "model.engine", runtime="tensorrt-rtx")
    package = edgerep.export_coreml(graph, tmp_path / "model.mlpackage")
    report = edgerep.verify(model, [graph, engine, package])
    assert len([artefact for artefact in report.artefacts if artefact.ran]) >= 2
    report.require()

"""Every public verb says in one message what it takes and what was given instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgerep
from edgerep.errors import OptionError


@dataclass(frozen=True, eq=False)
class Things:
    """One thing of each kind that could be handed to a verb."""

    network: nn.Module
    fused: edgerep.Fused
    graph: Any


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Things:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    fused = edgerep.fuse(network)
    graph = edgerep.export_onnx(fused, tmp_path_factory.mktemp("things") / "g.onnx", size=8)
    return Things(network, fused, graph)


Call = Callable[[Any], object]  # typed loosely: every call is wrong
load: Any = edgerep.load
fuse: Any = edgerep.fuse
export: Any = edgerep.export_onnx
build: Any = edgerep.build_engine
package: Any = edgerep.export_coreml
verify: Any = edgerep.verify
bench: Any = edgerep.run_bench

WRONG: Mapping[str, tuple[Call, str]] = {
    "load a number": (lambda t: load(3), "or a network's name, and an int was given (3)"),
    "load a network": (lambda t: load(t.network), "a Sequential was given"),
    "fuse a number": (lambda t: fuse(3), "should be a torch.nn.Module, and an int was given (3)"),
    "fuse a fused": (lambda t: fuse(t.fused), "a Fused was given: its network is `.module`"),
    "fuse a path": (lambda t: fuse("w.pth"), "read it with edgerep.load first"),
    "fuse a class": (lambda t: fuse(nn.Flatten), "a type was given"),
    "fuse on a number": (lambda t: fuse(t.network, inputs=3), "`inputs` is a tensor or several"),
    "fuse on nothing": (lambda t: fuse(t.network, inputs=[]), "`inputs` is empty"),
    "export a path": (lambda t: export("a.onnx", "b.onnx"), "read it with edgerep.load first"),
    "export a graph": (lambda t: export(t.graph, "b.onnx"), "edgerep made it already"),
    "export nowhere": (lambda t: export(t.fused, None), "`path` is where the graph is written"),
    "export a text": (lambda t: export(t.fused, "b.txt"), "give an ONNX file a name that ends in"),
    "build a text": (lambda t: build(t.graph, "b.txt"), "engine a name that ends in .engine"),
    "a size of letters": (lambda t: export(t.fused, "b.onnx", size="a"), "size 'a' is neither"),
    "a size of three": (lambda t: export(t.fused, "b.onnx", size=(1, 2, 3)), "is neither"),
    "a half size": (lambda t: export(t.fused, "b.onnx", size=2.5), "size 2.5 is neither"),
    "channels of letters": (lambda t: export(t.fused, "b.onnx", channels="3"), "no whole number"),
    "shapes of letters": (
        lambda t: export(t.fused, "b.onnx", input_shapes="3x2x2"), "one shape of whole numbers",
    ),
    "half a batch": (lambda t: export(t.fused, "b.onnx", batch=2.5), "neither N nor MIN:OPT:MAX"),
    "a preset for preprocessing": (
        lambda t: export(t.fused, "b.onnx", preprocessing="imagenet"), "is a Preprocessing, and",
    ),
    "build of a fused": (lambda t: build(t.fused, "a.engine"), "from a Graph or the path of an"),
    "build of a network": (lambda t: build(t.network, "a.engine"), "make a graph of a network"),
    "package of a fused": (lambda t: package(t.fused, "a.mlpackage"), "a Fused was given"),
    "verify a fused": (lambda t: verify(t.network, [t.fused]), "an artefact is a path, or what"),
    "verify a number": (lambda t: verify(t.network, [3]), "an int was given (3)"),
    "verify no list": (lambda t: verify(t.network, t.graph), "is a list, and a Graph was given"),
    "verify a name": (lambda t: verify(t.network, "g.onnx"), "put it into one"),
    "verify nothing": (lambda t: verify(t.network, []), "there is nothing to compare"),
    "verify against 3": (lambda t: verify(3, [t.graph]), "the reference is a network, or the path"),
    "verify against an engine": (
        lambda t: verify("a.engine", [t.graph]), "a.engine is an engine, and not what it is",
    ),
    "verify on a number": (
        lambda t: verify(t.network, [t.graph], calibration=3), "is a path, an array of images",
    ),
    "verify at a number": (lambda t: verify(t.network, [t.graph], batch=3), "a list of sizes"),
    "time a number": (lambda t: bench([3]), "a int cannot be timed"),
    "verify some images": (
        lambda t: verify(t.network, [t.graph], calibration={"images": torch.zeros(2, 3, 8, 8)}),
        "is a path, an array of images [N, C, H, W] or an iterable of such arrays, and a dict was",
    ),
    "verify no images": (
        lambda t: verify(t.network, [t.graph], calibration=np.zeros((0, 3, 8, 8), np.float32)),
        "`calibration` has no image",
    ),
    "verify images in words": (
        lambda t: verify(t.network, [t.graph], max_images="3"), "max_images '3': at least 1",
    ),
    "verify by a word": (lambda t: verify(t.network, [t.graph], seed="x"), "seed 'x' is no whole"),
    "verify below 0": (lambda t: verify(t.network, [t.graph], seed=-1), "seed -1 is no whole"),
    "label by a word": (
        lambda t: package(t.graph, "a.mlpackage", labels="cats"),
        "labels are a list of names, and a str was given",
    ),
    "label by numbers": (
        lambda t: package(t.graph, "a.mlpackage", labels=[1, 2]),
        "labels are a list of names, and in it an int was given (1)",
    ),
    "time in words": (lambda t: bench([t.graph], rounds="many"), "'many' rounds are too few"),
    "time a network": (lambda t: bench(t.network), "is a list, and a Sequential was given"),
    "time at no size": (lambda t: bench([t.network], size="a"), "is neither a number of pixels"),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG)
def test_what_a_verb_takes_and_was_given_is_said(
    call: str, things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong, words = WRONG[call]
    with pytest.raises(OptionError) as caught:
        wrong(things)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert torch.is_grad_enabled()

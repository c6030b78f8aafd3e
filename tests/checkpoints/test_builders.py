"""Builders give networks in whatever state: each is taken as what it computes, or refused."""

from __future__ import annotations

import random
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgerep
from edgerep.errors import NetworkError, OptionError
from edgerep.networks.network import origin_of
from zoo.wrapped import REFUSED, TAKEN, plain


@pytest.mark.parametrize("name", TAKEN)
def test_what_a_builder_gives_is_the_float32_network_inside(name: str) -> None:
    made: list[nn.Module] = []

    def build() -> nn.Module:
        made.append(TAKEN[name]())
        return made[0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = edgerep.load("-", model=build)
    assert not any(part.training for part in network.modules())
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    inner = made[0]
    while isinstance(inner, nn.DataParallel) or hasattr(inner, "_orig_mod"):
        inner = inner.module if isinstance(inner, nn.DataParallel) else inner._orig_mod  # type: ignore
    was_training, dtype = inner.training, next(inner.parameters()).dtype
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        wanted = inner.eval()(images.to(dtype)).double()
        difference = (network(images) - wanted).abs().max() / wanted.abs().max()
    inner.train(was_training)
    assert difference <= {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(dtype, 1e-6)
    theirs = {id(tensor) for tensor in inner.state_dict(keep_vars=True).values()}
    assert not theirs & {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}


@pytest.mark.parametrize("name", [
    "half", "double", "compiled", "compiled in place", "forward compiled", "parallel inside",
    "weight norm",
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_such_networks_go_down_the_path_as_they_are_too(name: str, tmp_path: Path) -> None:
    network = TAKEN[name]()
    fused = edgerep.fuse(network)
    assert {tensor.dtype for tensor in fused.module.parameters()} == {
        tensor.dtype for tensor in network.parameters()
    }
    graph = edgerep.export_onnx(fused, tmp_path / "a.onnx", size=8)
    assert graph.inputs[0].dtype == "float32"
    assert graph.operators["Conv"] == 2
    edgerep.verify(network, [graph]).require()


@pytest.mark.parametrize(("name", "said"), [
    ("half", "float16 weights of the network widened to float32, which is exact"),
    ("double", "float64 weights of the network rounded to float32"),
    ("compiled parallel", "torch.compile around the network taken off"),
    ("compiled parallel", "DataParallel around the network taken off"),
])  # fmt: skip
def test_what_was_changed_is_said(name: str, said: str) -> None:
    origin = origin_of(edgerep.load("-", model=TAKEN[name]))
    assert origin is not None
    assert said in origin.notes


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_network_of_its_own_is_refused_in_words(name: str) -> None:
    build, words = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(NetworkError, match=words) as caught:
            edgerep.load("-", model=build)
    assert "\n" not in str(caught.value)


def test_a_network_that_the_builder_keeps_is_not_touched() -> None:
    kept = plain().train().half()
    before = {name: tensor.clone() for name, tensor in kept.state_dict().items()}
    network = edgerep.load("-", model=lambda: kept, bn_eps=0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert kept.training
    assert [m.eps for m in kept.modules() if isinstance(m, nn.BatchNorm2d)] == [1e-5]
    assert not hasattr(kept, "_edgerep_origin")
    for name, tensor in kept.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])


def test_a_builder_leaves_no_trace_in_torch() -> None:
    def build() -> nn.Module:
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)  # as builders do
        torch.set_grad_enabled(False)
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.use_deterministic_algorithms(True)
        torch.set_default_dtype(torch.float64)
        return plain()

    def state() -> list[object]:
        return [
            torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),  # type: ignore
            torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
        ]  # fmt: skip

    before = state()
    edgerep.load("-", model=build)
    assert state() == before


@pytest.mark.parametrize("model", [3, nn.Identity()])
def test_what_cannot_build_is_refused(model: object) -> None:
    with pytest.raises(OptionError, match=re.escape("`model` is what builds the network")):
        edgerep.load("-", model=model)  # type: ignore[call-overload]


def test_an_error_of_the_builder_points_to_its_line() -> None:
    def build() -> nn.Module:
        return nn.Conv2d(3, -1, 3)

    with pytest.raises(NetworkError, match=r"RuntimeError: .*in .*test_builders\.py:\d+, `return"):
        edgerep.load("-", model=build)

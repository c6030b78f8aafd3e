"""What depends on chance or on the batch is named by module and line, and nothing else is."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.bench.parity.references.network import Reference
from edgerep.errors import NetworkError
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.fusion.fused import fuse
from edgerep.torch_modules.chance import batch_statistics_in, chance_in


class DropPath(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(0.5) / 0.5


class Noise(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "rand":
            return x + torch.rand(x.shape)
        if self.kind == "gumbel":
            return functional.gumbel_softmax(x, dim=1)
        if self.kind == "numpy":
            return x * float(np.random.rand())
        if self.kind == "python":
            return x * random.random()
        if self.kind == "drawn for nothing":
            torch.rand(3)
            return x
        if self.kind == "dropout of nothing":
            return functional.dropout(x, 0.0, training=True)
        return functional.dropout(x, 0.5)


class Net(nn.Module):
    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.block = nn.Sequential(middle)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(self.bn(self.conv(x)))
        return y


WORDS = {
    "dropout": "dropout in `block.0` (Noise) at test_chance.py:",
    "rand": "rand in `block.0` (Noise) at test_chance.py:",
    "gumbel": "gumbel_softmax in `block.0` (Noise) at test_chance.py:",
    "numpy": "Python or numpy",
    "python": "Python or numpy",
}
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", WORDS)
def test_random_calls_are_named(kind: str) -> None:
    why = chance_in(Net(Noise(kind)).eval(), [X])
    assert why is not None
    assert WORDS[kind] in why
    assert "chaotic" not in why


def test_a_drop_path_left_on_is_named() -> None:
    why = chance_in(Net(DropPath()).eval(), [X])
    assert why is not None
    assert "Tensor.bernoulli_ in `block.0` (DropPath)" in why


def test_a_dropout_set_to_training_is_named() -> None:
    net = Net(nn.Dropout(0.3)).eval()
    net.block[0].train()
    why = chance_in(net, [X])
    assert why is not None
    assert "dropout in `block.0` (Dropout)" in why


@pytest.mark.parametrize("kind", ["drawn for nothing", "dropout of nothing"])
def test_numbers_that_change_nothing_are_no_chance(kind: str) -> None:
    assert chance_in(Net(Noise(kind)).eval(), [X]) is None


def test_the_generators_are_as_they_were() -> None:
    net = Net(Noise("dropout")).eval()
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    chance_in(net, [X])
    assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize("verb", [
    lambda net: fuse(net, inputs=X),
    lambda net: export_onnx(net, "never.onnx", size=8),
    lambda net: Reference(net).answers([X.numpy()]),
])  # fmt: skip
def test_every_verb_refuses_a_random_network(verb: object) -> None:
    with pytest.raises(NetworkError, match=r"draws random numbers.*dropout in `block\.0`"):
        verb(Net(Noise("dropout")).eval())  # type: ignore[operator]


def test_batch_statistics_are_named() -> None:
    net = Net(nn.BatchNorm2d(4, track_running_stats=False)).eval()
    (found,) = batch_statistics_in(net, [X])
    assert "`block.0` (BatchNorm2d)" in found
    assert batch_statistics_in(Net(nn.InstanceNorm2d(4)).eval(), [X]) == ()
    with pytest.raises(NetworkError, match="uses batch statistics"):
        Reference(net).answers([X.numpy()])
    with pytest.raises(NetworkError, match=r"uses batch statistics.*`block\.0`"):
        export_onnx(net, "never.onnx", size=8, batch=2)


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


def test_other_mixing_is_noted_and_the_network_run_sample_by_sample() -> None:
    reference = Reference(Net(Centred()).eval())
    truth, own = reference.answers([X.numpy()])
    assert reference.mixes is not None
    assert np.abs(truth.outputs[0]).max() < 1e-12
    assert len(own.outputs[0]) == 2

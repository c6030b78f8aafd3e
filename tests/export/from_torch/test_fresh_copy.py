"""What a network keeps from one run to the next neither reaches the graph nor is changed by it."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.errors import EdgerepError, OnnxError
from edgerep.networks.layers import randomised
from edgerep.torch_modules.tree import every_path
from zoo.caching import Anchored, Hashing, InABuffer, InAList, Switching
from zoo.wrapped import TAKEN

SIDE = 32


@pytest.mark.parametrize(("kind", "ran"), [
    (Anchored, None), (Anchored, (2, 3, SIDE, SIDE)), (InAList, (2, 3, SIDE, SIDE)),
    (InABuffer, (1, 3, 16, 24)),
])  # fmt: skip
def test_a_head_that_keeps_anchors_gets_an_open_batch(
    kind: type[nn.Module], ran: tuple[int, ...] | None, tmp_path: Path
) -> None:
    network = randomised(kind)
    if ran is not None:
        with torch.no_grad():
            network(torch.ones(ran))
    graph = edgerep.export_onnx(network, tmp_path / "a.onnx", size=SIDE, batch=(1, 2, 3))
    assert edgerep.verify(network, [graph]).passed


def test_a_head_that_sets_its_own_flag_is_compared_as_it_is(tmp_path: Path) -> None:
    network = randomised(lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Switching()))
    with torch.no_grad():
        network(torch.ones(1, 3, SIDE, SIDE))
    assert network[2].training
    fused = edgerep.fuse(network)
    graph = edgerep.export_onnx(fused, tmp_path / "a.onnx", size=SIDE)
    assert edgerep.verify(network, [graph]).passed
    assert [part.training for part in network.modules()] == [False, False, False, True] + [
        False
    ] * 2


def test_what_cannot_have_an_open_batch_is_told_so(tmp_path: Path) -> None:
    network = Hashing().eval()
    with pytest.raises(OnnxError, match="Hashing fixes the batch while it is traced") as caught:
        edgerep.export_onnx(network, tmp_path / "a.onnx", size=SIDE, batch=(1, 2, 4))
    assert re.search(r"for a number, in caching\.py:\d+, `.*known", str(caught.value))
    assert edgerep.export_onnx(network, tmp_path / "a.onnx", size=SIDE, batch=2).path.exists()


class Failing(Anchored):
    """Runs, changes itself, and fails; a graph of it cannot be made."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.runs += 1
        self.shape = x.shape
        self.anchors = x
        torch.manual_seed(3)
        torch.set_grad_enabled(True)
        raise RuntimeError("no such head")


class Untraceable(Failing):
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.shape = x.shape
        self.anchors = self.conv(x)
        return self.anchors if self.anchors.sum() > 0 else -self.anchors


NEW = ("Anchored", "Failing", "half")  # the others have run before
NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    **{kind.__name__: kind for kind in (
        Anchored, InAList, InABuffer, Switching, Hashing, Failing, Untraceable
    )},
    **{name: TAKEN[name] for name in ("half", "hooks", "weight norm", "pruned", "spectral norm")},
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")
def test_no_verb_changes_the_network_or_torch(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]().eval()
    if name not in NEW:
        with contextlib.suppress(RuntimeError):  # of one that fails on purpose
            network(torch.ones(1, 3, SIDE, SIDE))
    torch.set_grad_enabled(True)
    before = everything(network)
    graphs = []
    for verb in (
        lambda: edgerep.load("-", model=lambda: network),
        lambda: edgerep.fuse(network),
        lambda: graphs.append(edgerep.export_onnx(network, tmp_path / "a.onnx", size=SIDE)),
        lambda: edgerep.verify(network, graphs),
    ):
        with contextlib.suppress(EdgerepError):
            verb()
        assert_same(everything(network), before)


def everything(network: nn.Module) -> dict[str, Any]:
    """All that a network and torch hold, tensors with their identity and their numbers."""
    found: dict[str, Any] = {
        "seed": torch.get_rng_state().tolist(), "random": random.getstate(),
        "grad": torch.is_grad_enabled(), "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    for path, part in every_path(network):
        found[f"{path}: class"] = type(part)
        for name, value in vars(part).items():
            found[f"{path}: {name}"] = frozen(value)
    return found


def frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (id(value), value.detach().clone(), value.requires_grad, value.grad)
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(frozen, value)]
    return id(value) if isinstance(value, nn.Module) or hasattr(value, "__dict__") else value


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other

"""A network that does not run is one line with the user's own line and sizes that work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import edgerep
from edgerep.errors import EdgerepError, NetworkError
from edgerep.networks.examples import image_channels
from edgerep.networks.trial import sizes_that_run


class Focus(nn.Module):
    """Space to depth in front, as in YOLOX: even sides only, and a quarter of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
        y: Tensor = self.conv(torch.cat(corners, 1))  # a line to be named
        return y.mean((2, 3))


class FixedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8 * 16 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.conv(x).flatten(1))
        return y


class Skip(nn.Module):
    """A U-Net's skip: sides that are no multiple of 4 come back as others."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 3, 3, 4, 1), nn.Upsample(scale_factor=4.0)

    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) != float(x.sum()):  # which no tensor without numbers can answer
            raise ValueError
        y: Tensor = x + self.up(self.down(x))
        return y


class Gated(nn.Module):
    """Its gate is registered before the convolution that runs first, as in RepVGG-D2se."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate, self.stem = nn.Conv2d(16, 16, 1), nn.Conv2d(channels, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stem(x)
        gate: Tensor = self.gate(y.mean((2, 3), keepdim=True))
        return y * gate.sigmoid()


@pytest.mark.parametrize(("network", "shape", "sizes"), [
    (Focus(), (2, 3, 33, 32), [(32, 32), (34, 32), (36, 32)]),
    (FixedHead(), (2, 3, 64, 64), [(32, 32)]),
    (Skip(), (1, 3, 30, 41), [(28, 40), (32, 40), (32, 44)]),
    (nn.Flatten(), (1, 3, 8, 8), None),
])  # fmt: skip
def test_sizes_that_work_are_found_by_trying(
    network: nn.Module, shape: tuple[int, ...], sizes: list[tuple[int, int]] | None
) -> None:
    found = sizes_that_run(network.eval(), [torch.zeros(shape)])
    assert found
    for height, width in found:
        network(torch.zeros(1, 3, height, width))
    if sizes is not None:
        assert found == sizes


class CastsItself(nn.Module):
    """Built to be `.half()`; its weights are widened here, and its code narrows what they meet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stem(x.half())
        return y.float()


def test_no_size_is_advised_where_a_type_is_the_fault() -> None:
    with pytest.raises(EdgerepError) as caught:
        edgerep.fuse(CastsItself().eval(), inputs=torch.zeros(1, 3, 32, 32))
    message = str(caught.value)
    assert "test_trial.py:" in message
    assert "weights are in float32 here" in message
    assert "Sizes that work" not in message


@pytest.mark.parametrize(("network", "channels"), [
    (Gated(3), 3), (Gated(1), 1), (Gated(4), 4), (Focus(), 3), (nn.Linear(4, 4), 3),
    (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 8, 3)), 1),
    (nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(9, 8, 3)), 9),
])  # fmt: skip
def test_channels_are_those_that_run_first(network: nn.Module, channels: int) -> None:
    assert image_channels(network.eval()) == channels


def test_every_verb_says_so_in_one_line(tmp_path: Path) -> None:
    network = FixedHead().eval()
    images = torch.zeros(2, 3, 64, 64)
    for verb in (
        lambda: edgerep.fuse(network, inputs=images),
        lambda: edgerep.export_onnx(network, tmp_path / "a.onnx", size=64),
        lambda: edgerep.export_onnx(edgerep.fuse(network, inputs=images[..., :32, :32]),
                                    tmp_path / "a.onnx", size=64, batch=(1, 2, 4)),
        lambda: edgerep.run_bench([network], batch=[1], size=64, rounds=6),
    ):  # fmt: skip
        with pytest.raises(EdgerepError) as caught:
            verb()
        message = str(caught.value)
        assert "\n" not in message
        assert "test_trial.py:" in message
        assert "`y: Tensor = self.head(" in message
        assert "Sizes that work: 32 (--size" in message


def test_what_is_edgereps_own_fault_is_not_blamed_on_the_network(tmp_path: Path) -> None:
    from edgerep.networks.trial import blaming_the_network

    with pytest.raises(ZeroDivisionError), blaming_the_network(Focus(), [torch.zeros(1, 3, 8, 8)]):
        _ = 1 // 0
    with (
        pytest.raises(NetworkError, match="does not run"),
        blaming_the_network(Focus(), [torch.zeros(1, 3, 9, 8)]),
    ):
        _ = 1 // 0

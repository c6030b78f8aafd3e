"""The networks that faults are planted in, their images, and what they answer in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import edgerep
from edgerep.data.preprocessing import Preprocessing
from edgerep.networks.repvgg import random_repvgg
from edgerep.networks.repvgg_architecture import Architecture

Array = NDArray[Any]
DEMO = Path(__file__).parents[2] / "docs" / "demo"
_GROUPS_AND_SQUEEZE = Architecture(3, 16, (16, 32), (3, 2), (1, 1, 4, 1, 2, 1), True, 10)


class Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y.relu()


class Detector(nn.Module):
    """Two scales, joined; two outputs of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = Stage(3, 8), Stage(8, 8, 2)
        self.same, self.deep = Stage(8, 8), Stage(8, 8)
        self.merge = Stage(16, 8)
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = functional.max_pool2d(self.stem(x), 3, 2, 1)
        coarse = self.down(fine)
        coarse = coarse + self.deep(self.same(coarse))
        up = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        joined = self.merge(torch.cat([fine, up], 1))
        return self.boxes(joined), self.scores(joined).sigmoid()


class Segmenter(nn.Module):
    """Down, and up again by a transposed convolution and by bilinear resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = Stage(3, 8, 2), Stage(8, 8)
        self.wide = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.norm = nn.InstanceNorm2d(8, affine=True, eps=1e-5)
        self.up = nn.ConvTranspose2d(8, 8, 3, 2, 1, 1)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.deep(self.stem(x))
        y = y + functional.avg_pool2d(y, 3, 1, 1)
        y = functional.hardswish(self.norm(self.wide(y)))
        y = functional.leaky_relu(self.up(y), 0.1)
        y = functional.interpolate(y, scale_factor=2.0, mode="bilinear")
        logits: Tensor = self.last(y)
        return logits.softmax(1)


class Mixer(nn.Module):
    """Patches, attention, a norm and a multilayer perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.norm, self.last_norm = nn.LayerNorm(16), nn.LayerNorm(16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.wide, self.narrow = nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        z = self.norm(y)
        weights = (self.query(z) @ self.key(z).transpose(1, 2) / 4).softmax(-1)
        y = y + weights @ self.value(z)
        y = y + self.narrow(functional.gelu(self.wide(self.last_norm(y))))
        result: Tensor = self.head(y.mean(1))
        return result


@dataclass(frozen=True, eq=False)
class Subject:
    """A network that faults are planted in.

    Attributes:
        name: For the table.
        network: As it was trained.
        size: Of its image.
        preprocessing: That is put into its files.
        images: Given with every comparison, as the files take them.
        truth: Its answers to `images`, computed by torch's own `double()`: no part of edgerep.
    """

    name: str
    network: nn.Module
    size: tuple[int, int]
    preprocessing: Preprocessing
    images: Array
    truth: tuple[Array, ...]


def subjects() -> list[Subject]:
    """All of them; the same every time."""
    with np.load(DEMO / "calibration.npz") as file:
        digits = file["images"][:6]
    colours = _smooth(6, 32, 24)
    imagenet = Preprocessing("uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    squeeze = random_repvgg(_GROUPS_AND_SQUEEZE, seed=1)
    made = [
        _subject("digits", edgerep.load(DEMO / "digits-repvgg.pth"), digits,
                 Preprocessing("uint8", (0.3059,), (0.324,))),
        _subject("squeeze", _settled(squeeze, _floats(_smooth(64, 32, 24), imagenet)), colours,
                 imagenet),
    ]  # fmt: skip
    builders: list[Callable[[], nn.Module]] = [Detector, Segmenter, Mixer]
    for seed, build in enumerate(builders):
        torch.manual_seed(seed)
        images = _smooth(6, 16, 24)
        floats = ((images.astype(np.float32) - 128) / 60).astype(np.float32)
        network = _settled(build(), np.concatenate([floats] * 4))
        made.append(_subject(build.__name__.lower(), network, floats, Preprocessing()))
    return made


def _subject(name: str, network: nn.Module, images: Array, pre: Preprocessing) -> Subject:
    height, width = images.shape[2:]
    with torch.no_grad():
        found = copy.deepcopy(network).double()(torch.from_numpy(_floats(images, pre)).double())
    outputs = found if isinstance(found, tuple) else (found,)
    return Subject(name, network, (height, width), pre, images, tuple(x.numpy() for x in outputs))


def _floats(images: Array, pre: Preprocessing) -> Array:
    """What the network itself is given."""
    if pre.is_identity:
        return images
    mean, std = (np.array(v)[:, None, None] for v in (pre.mean, pre.std))
    result: Array = (images / 255 - mean) / std
    return result


def _smooth(count: int, height: int, width: int) -> Array:
    """Pixels in patches of 8, so that images differ after pooling too."""
    patches = np.random.default_rng(0).integers(
        0, 256, (count, 3, height // 8, width // 8), dtype=np.uint8
    )
    return patches.repeat(8, axis=2).repeat(8, axis=3)


def _settled(network: nn.Module, images: Array) -> nn.Module:
    """The network with the BatchNorm statistics of these images, and scales that differ.

    Those of a network with random statistics hardly depend on the image, and faults drown.
    """
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        if isinstance(module, nn.LayerNorm | nn.InstanceNorm2d | nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.3)
    with torch.no_grad():
        network.train()(torch.from_numpy(images).float())
    return network.eval()

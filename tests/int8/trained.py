"""The trained networks that INT8 is measured on: what they are, and how one is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from edgerep.networks.repvgg import RepVGG
from edgerep.networks.repvgg_architecture import Architecture
from int8.mixed import Mixed
from int8.shapes import CLASSES

FOLDER = Path(__file__).parent / "networks"


@dataclass(frozen=True)
class Drawing:
    """How many images, and the seed that they are drawn from."""

    images: int
    seed: int


TRAINING = Drawing(30_000, seed=1)
CALIBRATION = Drawing(1_000, seed=2)
TEST = Drawing(4_000, seed=3)

DEPTHS = (3, 5, 8)
SMALL = Architecture(  # 17 convolutions when fused
    image_channels=3,
    stem_width=24,
    widths=(28, 40, 64),
    depths=DEPTHS,
    groups=(1,) * (1 + sum(DEPTHS)),
    squeeze=False,
    classes=CLASSES,
)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "repvgg": lambda: RepVGG(SMALL),
    "mixed": lambda: Mixed(CLASSES),
}


def build(name: str) -> nn.Module:
    """A network with fresh weights, in training mode."""
    return NETWORKS[name]()


def load_trained(name: str) -> nn.Module:
    """A network as it was trained, branches and BatchNorms apart, in eval mode and float32."""
    stored = load_file(FOLDER / f"{name}.safetensors")
    model = build(name)
    model.load_state_dict(
        {
            key: value.float() if value.is_floating_point() else value
            for key, value in stored.items()
        }
    )
    return model.eval()

"""Networks with the decoding and resizing that their exports have, for the whole path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from zoo.damo_yolo import DamoYolo
from zoo.ecbsr import ecbsr
from zoo.nanodet import NanoDet
from zoo.randomising import randomise
from zoo.unet import UNet
from zoo.yolov6 import YoloV6
from zoo.yolov7 import YoloV7
from zoo.yolov8 import Dfl, YoloV8


@dataclass(frozen=True, slots=True)
class Exported:
    """How to build a network, and what of it.

    Attributes:
        build: Makes it, with default weights.
        shape: Of one image.
        convs: Convolutions that are left when all that folds exactly is folded.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    convs: int

    def made(self, seed: int = 0) -> nn.Module:
        """The network in eval mode with drawn weights, but for those that only count."""
        model = randomise(self.build(), seed, (torch.randn(2, *self.shape),))
        for module in model.modules():
            if isinstance(module, Dfl):
                module.restore()
        return model


EXPORTED = {
    "yolov6": Exported(YoloV6, (3, 64, 64), 42),
    "yolov7": Exported(YoloV7, (3, 64, 64), 58),
    "yolov8": Exported(YoloV8, (3, 64, 64), 52),
    "nanodet": Exported(NanoDet, (3, 64, 64), 71),
    "damo-yolo": Exported(DamoYolo, (3, 64, 64), 61),
    "ecbsr": Exported(ecbsr, (1, 24, 20), 3),
    "unet": Exported(UNet, (3, 40, 36), 17),
}

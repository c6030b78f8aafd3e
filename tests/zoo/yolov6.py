"""YOLOv6 (Li et al., 2022): EfficientRep, RepPAN with transposed convolutions, decoupled heads.

The decoding is that of its export: boxes from distances, a column of ones as the score of being an
object at all, and the scores of the classes.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from zoo.anchors import STRIDES, anchor_points
from zoo.detector import Conv, EfficientRep, RepConv
from zoo.parts import conv_bn


def _conv_relu(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv_bn(in_channels, out_channels, size, stride=stride), nn.ReLU())


def _rep_block(in_channels: int, out_channels: int, depth: int = 2) -> nn.Sequential:
    blocks = [RepConv(in_channels, out_channels, activation=nn.ReLU)]
    same = partial(RepConv, out_channels, out_channels, identity=True, activation=nn.ReLU)
    return nn.Sequential(*blocks, *(same() for _ in range(depth - 1)))


class RepPAN(nn.Module):
    """One path down by transposed convolutions and one up by strided ones."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        small, middle, large = widths
        self.reduce_layer0 = _conv_relu(large, middle, 1)
        self.upsample0 = nn.ConvTranspose2d(middle, middle, 2, 2)
        self.rep_p4 = _rep_block(2 * middle, middle)
        self.reduce_layer1 = _conv_relu(middle, small, 1)
        self.upsample1 = nn.ConvTranspose2d(small, small, 2, 2)
        self.rep_p3 = _rep_block(2 * small, small)
        self.downsample2 = _conv_relu(small, small, 3, 2)
        self.rep_n3 = _rep_block(2 * small, middle)
        self.downsample1 = _conv_relu(middle, middle, 3, 2)
        self.rep_n4 = _rep_block(2 * middle, large)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        small, middle, large = features
        first = self.reduce_layer0(large)
        middle = self.rep_p4(torch.cat([self.upsample0(first), middle], 1))
        second = self.reduce_layer1(middle)
        small = self.rep_p3(torch.cat([self.upsample1(second), small], 1))
        middle = self.rep_n3(torch.cat([self.downsample2(small), second], 1))
        large = self.rep_n4(torch.cat([self.downsample1(middle), first], 1))
        return [small, middle, large]


class EfficientHead(nn.Module):
    """A stem, and a branch each for classes and for distances to the four sides, per map."""

    def __init__(self, widths: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.stems = nn.ModuleList(Conv(width, width) for width in widths)
        self.cls_convs = nn.ModuleList(Conv(width, width, 3) for width in widths)
        self.reg_convs = nn.ModuleList(Conv(width, width, 3) for width in widths)
        self.cls_preds = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in widths)
        self.reg_preds = nn.ModuleList(nn.Conv2d(width, 4, 1) for width in widths)

    def forward(self, maps: list[Tensor]) -> Tensor:
        points, strides = anchor_points(maps, STRIDES)
        scores, distances = [], []
        for index, x in enumerate(maps):
            count, _, height, width = x.shape
            x = self.stems[index](x)
            score = torch.sigmoid(self.cls_preds[index](self.cls_convs[index](x)))
            distance = self.reg_preds[index](self.reg_convs[index](x))
            scores.append(score.reshape([count, self.classes, height * width]))
            distances.append(distance.reshape([count, 4, height * width]))
        score = torch.cat(scores, -1).permute(0, 2, 1)
        distance = torch.cat(distances, -1).permute(0, 2, 1)
        before, behind = torch.split(distance, 2, -1)
        corner, opposite = points - before, points + behind
        boxes = torch.cat([(corner + opposite) / 2, opposite - corner], -1)
        boxes *= strides
        ones = torch.ones((boxes.shape[0], boxes.shape[1], 1), dtype=boxes.dtype)
        return torch.cat([boxes, ones.to(boxes.device), score], -1)


class YoloV6(nn.Module):
    """Images [N, 3, H, W], sides divisible by 32, to [N, positions, 5 + classes]."""

    def __init__(self, width: int = 4, classes: int = 5) -> None:
        super().__init__()
        widths = (4 * width, 8 * width, 16 * width)
        self.backbone = EfficientRep(width)
        self.neck = RepPAN(widths)
        self.detect = EfficientHead(widths, classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.detect(self.neck(self.backbone(x)))
        return y

"""YOLOv8 (Ultralytics, 2023): C2f, SPPF, and heads that give each side of a box as a distribution.

The decoding is that of its export: the mean of each distribution (DFL), boxes as centre and size
in pixels beside the scores, in one tensor [N, 4 + classes, positions].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.anchors import STRIDES, anchor_points
from zoo.detector import SPPF, Conv, CrossStage

BINS = 16


def _conv(channels: int) -> Conv:
    return Conv(channels, channels, 3)


class Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels, 3), Conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.cv2(self.cv1(x))
        return y


class Dfl(nn.Module):
    """The mean of each of four distributions over `BINS`, by a convolution whose weight counts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.restore()

    def restore(self) -> None:
        """Make the weight count again, where something else was drawn."""
        with torch.no_grad():
            self.conv.weight.copy_(torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        count, _, positions = x.shape
        x = x.view(count, 4, BINS, positions).transpose(2, 1).softmax(1)
        y: Tensor = self.conv(x).view(count, 4, positions)
        return y


class Detect(nn.Module):
    def __init__(self, widths: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.classes, self.numbers = classes, 4 * BINS + classes
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(w, 16, 3), Conv(16, 16, 3), nn.Conv2d(16, 4 * BINS, 1))
            for w in widths
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(w, w, 3), Conv(w, w, 3), nn.Conv2d(w, classes, 1)) for w in widths
        )
        self.dfl = Dfl()

    def forward(self, maps: list[Tensor]) -> Tensor:
        shape = maps[0].shape
        found = [
            torch.cat((boxes(x), scores(x)), 1)
            for boxes, scores, x in zip(self.cv2, self.cv3, maps, strict=True)
        ]
        points, strides = (t.transpose(0, 1) for t in anchor_points(found, STRIDES))
        joined = torch.cat([x.view(shape[0], self.numbers, -1) for x in found], 2)
        box, score = torch.split(joined, [4 * BINS, self.classes], 1)
        before, behind = self.dfl(box).chunk(2, 1)
        corner, opposite = points.unsqueeze(0) - before, points.unsqueeze(0) + behind
        boxes = torch.cat(((corner + opposite) / 2, opposite - corner), 1) * strides
        return torch.cat((boxes, score.sigmoid()), 1)


class YoloV8(nn.Module):
    """Images [N, 3, H, W], sides divisible by 32, to [N, 4 + classes, positions]."""

    def __init__(self, width: int = 8, classes: int = 5) -> None:
        super().__init__()
        small, middle, large = 2 * width, 4 * width, 8 * width
        self.stem = nn.Sequential(Conv(3, width, 3, stride=2), Conv(width, width, 3, stride=2))
        self.stage1 = nn.Sequential(
            CrossStage(width, width, 1, Bottleneck), Conv(width, small, 3, stride=2)
        )
        self.stage2 = nn.Sequential(
            CrossStage(small, small, 1, Bottleneck), Conv(small, middle, 3, stride=2)
        )
        self.stage3 = nn.Sequential(
            CrossStage(middle, middle, 1, Bottleneck), Conv(middle, large, 3, stride=2), SPPF(large)
        )
        self.upsample = nn.Upsample(None, 2, "nearest")
        self.down1 = CrossStage(large + middle, middle, 1, _conv)
        self.down2 = CrossStage(middle + small, small, 1, _conv)
        self.shrink1 = Conv(small, small, 3, stride=2)
        self.up1 = CrossStage(small + middle, middle, 1, _conv)
        self.shrink2 = Conv(middle, middle, 3, stride=2)
        self.up2 = CrossStage(middle + large, large, 1, _conv)
        self.detect = Detect((small, middle, large), classes)

    def forward(self, x: Tensor) -> Tensor:
        small = self.stage1(self.stem(x))
        middle = self.stage2(small)
        large = self.stage3(middle)
        middle = self.down1(torch.cat([self.upsample(large), middle], 1))
        small = self.down2(torch.cat([self.upsample(middle), small], 1))
        middle = self.up1(torch.cat([self.shrink1(small), middle], 1))
        large = self.up2(torch.cat([self.shrink2(middle), large], 1))
        y: Tensor = self.detect([small, middle, large])
        return y

"""FastViT (Vasu et al., ICCV 2023): RepMixer stages, attention in the last stage of SA12."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.mobileone import MobileOneBlock
from zoo.parts import conv_bn


@dataclass(frozen=True, slots=True)
class Variant:
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    expansion: int
    attention: bool = False  # in the last stage


VARIANTS = {
    "t8": Variant((2, 2, 4, 2), (48, 96, 192, 384), 3),
    "sa12": Variant((2, 2, 6, 2), (64, 128, 256, 512), 4, attention=True),
}


def layer_scale(channels: int) -> nn.Parameter:
    return nn.Parameter(1e-5 * torch.ones(channels, 1, 1))


class RepMixer(nn.Module):
    """x + gamma * (mixer(x) - norm(x)): linear in x, one depthwise convolution when fused."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = MobileOneBlock(channels, channels, 3, groups=channels, branches=0)
        self.mixer = MobileOneBlock(channels, channels, 3, groups=channels)
        self.layer_scale = layer_scale(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layer_scale * (self.mixer(x) - self.norm(x))
        return y


class ConvFFN(nn.Module):
    """A 7x7 depthwise convolution in front of the two pointwise ones."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.conv = conv_bn(channels, channels, 7, groups=channels)
        self.fc1 = nn.Conv2d(channels, channels * expansion, 1)
        self.fc2 = nn.Conv2d(channels * expansion, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(self.conv(x))))
        return y


class Attention(nn.Module):
    """Multi-head self-attention over positions; `len(x.shape)` is asked, as in the original."""

    def __init__(self, channels: int, head_width: int = 32) -> None:
        super().__init__()
        self.heads = channels // head_width
        self.scale = head_width**-0.5
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        if len(shape) == 4:
            x = torch.flatten(x, start_dim=2).transpose(-2, -1)  # [N, H*W, C]
        n, positions, channels = x.shape
        qkv = self.qkv(x).reshape(n, positions, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [N, heads, H*W, C/heads]
        weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1)
        y: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(n, positions, channels))
        return y.transpose(-2, -1).reshape(shape) if len(shape) == 4 else y


class RepMixerBlock(nn.Module):
    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.token_mixer = RepMixer(channels)
        self.ffn = ConvFFN(channels, expansion)
        self.layer_scale = layer_scale(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_mixer(x)
        y: Tensor = x + self.layer_scale * self.ffn(x)
        return y


class AttentionBlock(nn.Module):
    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.token_mixer = Attention(channels)
        self.ffn = ConvFFN(channels, expansion)
        self.layer_scale_1 = layer_scale(channels)
        self.layer_scale_2 = layer_scale(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale_1 * self.token_mixer(self.norm(x))
        y: Tensor = x + self.layer_scale_2 * self.ffn(x)
        return y


class LargeKernel(nn.Module):
    """A 7x7 and a 3x3 convolution, a BatchNorm each, summed."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.large = conv_bn(in_channels, out_channels, 7, stride=stride, groups=in_channels)
        self.small = conv_bn(in_channels, out_channels, 3, stride=stride, groups=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.large(x) + self.small(x))


class PositionalEncoding(nn.Module):
    """Conditional positions: x plus a depthwise 7x7 convolution of x, which fuse into one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) + x
        return y


class FastViT(nn.Module):
    def __init__(self, variant: Variant, classes: int = 1000) -> None:
        super().__init__()
        first, last = variant.widths[0], variant.widths[-1]
        self.stem = nn.Sequential(
            MobileOneBlock(3, first, 3, stride=2, activation=nn.GELU()),
            MobileOneBlock(first, first, 3, stride=2, groups=first, activation=nn.GELU()),
            MobileOneBlock(first, first, 1, activation=nn.GELU()),
        )
        layers: list[nn.Module] = []
        channels = first
        for stage, (width, depth) in enumerate(zip(variant.widths, variant.depths, strict=True)):
            if stage > 0:
                pointwise = MobileOneBlock(width, width, 1, activation=nn.GELU())
                layers.append(nn.Sequential(LargeKernel(channels, width, 2), pointwise))
            block: type[RepMixerBlock | AttentionBlock] = RepMixerBlock
            if variant.attention and stage == 3:
                layers.append(PositionalEncoding(width))
                block = AttentionBlock
            layers.append(nn.Sequential(*(block(width, variant.expansion) for _ in range(depth))))
            channels = width
        self.stages = nn.Sequential(*layers)
        self.expand = MobileOneBlock(
            last, 2 * last, 3, groups=last, squeeze=True, activation=nn.GELU()
        )
        self.head = nn.Linear(2 * last, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.expand(self.stages(self.stem(x))).mean((2, 3)))
        return logits


def fastvit(name: str = "t8", classes: int = 1000) -> FastViT:
    """`t8`, RepMixers alone, or `sa12`, with attention in its last stage."""
    return FastViT(VARIANTS[name], classes)

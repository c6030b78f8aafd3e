"""Every network and block of the tests, with what it executes before and after fusing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from edgerep.networks.repvgg import RepVGG
from edgerep.networks.repvgg_architecture import VARIANTS
from zoo.acnet import AsymmetricBlock, acnet
from zoo.counting import Calls
from zoo.dbb import DiverseBranchBlock, dbb_net
from zoo.decoder import Decoder, Implicit, ParallelUp, PlainBlock, Reflected
from zoo.detector import CIB, RepConv, RepVGGDW, cross_stage_detector, efficientrep_detector
from zoo.ecbsr import EdgeBlock
from zoo.fastvit import LargeKernel, PositionalEncoding, RepMixer, fastvit
from zoo.mobilenetv2 import mobilenetv2
from zoo.mobileone import MobileOneBlock, mobileone
from zoo.orepa import OrepaBlock, orepa_net
from zoo.pplcnet import pplcnet
from zoo.qarepvgg import QARepVGGBlock, qarepvgg
from zoo.repghost import RepGhostModule, repghostnet
from zoo.replknet import RepLKBlock, replknet
from zoo.repvggplus import repvggplus_l2pse, small_repvggplus
from zoo.repvit import TokenMixer, repvit
from zoo.resnet import resnet18


@dataclass(frozen=True, slots=True)
class Entry:
    """How to build a network, and the counts that it has and must reach.

    Attributes:
        build: Makes it, with default weights; `randomise` draws better ones.
        before: Calls in eval mode, as trained.
        after: Calls when all that folds exactly, at no cost, is folded.
        millions: Parameters as published, in train form, rounded as there.
        channels: Of its input.
        multiple: The sides of its input must be divisible by it.
    """

    build: Callable[[], nn.Module]
    before: Calls
    after: Calls
    millions: float | None = None
    channels: int = 3
    multiple: int = 1

    def shapes(self) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
        """Two input shapes: a square one to trace with, another batch, odd where it may be."""
        other = (77, 61) if self.multiple == 1 else (self.multiple, 3 * self.multiple)
        return (2, self.channels, 64, 64), (3, self.channels, *other)


NETWORKS = {
    "repvgg_a0": Entry(
        partial(RepVGG, VARIANTS["RepVGG-A0"]), Calls(44, 61, 39), Calls(22, 0, 0), 9.109
    ),
    "repvggplus": Entry(small_repvggplus, Calls(40, 25, 20), Calls(30, 0, 0)),
    "repvggplus, all heads": Entry(
        partial(small_repvggplus, heads_always=True), Calls(43, 28, 20), Calls(33, 0, 0)
    ),
    "mobileone_s0": Entry(partial(mobileone, "s0"), Calls(191, 226, 209), Calls(43, 0, 0), 5.3),
    "mobileone_s1": Entry(partial(mobileone, "s1"), Calls(65, 99, 82), Calls(43, 0, 0), 4.8),
    "mobileone_s2": Entry(partial(mobileone, "s2"), Calls(65, 99, 82), Calls(43, 0, 0), 7.9),
    "mobileone_s3": Entry(partial(mobileone, "s3"), Calls(65, 99, 82), Calls(43, 0, 0), 10.2),
    "mobileone_s4": Entry(partial(mobileone, "s4"), Calls(89, 99, 82), Calls(67, 0, 0), 15.0),
    "acnet": Entry(acnet, Calls(12, 12, 8), Calls(4, 0, 0)),
    # 16 of the sums compute the borders of the eight `BatchNormAndPad`s.
    "dbb": Entry(dbb_net, Calls(18, 22, 28), Calls(4, 0, 0)),
    "decoder": Entry(Decoder, Calls(10, 5, 5), Calls(6, 0, 0)),
    "replknet": Entry(replknet, Calls(40, 51, 15), Calls(35, 1, 10)),
    "qarepvgg": Entry(qarepvgg, Calls(18, 18, 14), Calls(9, 0, 0)),
    "qarepvgg, pooled": Entry(partial(qarepvgg, pooled=True), Calls(18, 18, 19), Calls(9, 0, 0)),
    "repvit_m1": Entry(partial(repvit, "m1"), Calls(126, 108, 73), Calls(103, 0, 26), 5.49),
    "repvit_m0_9": Entry(
        partial(repvit, "m0_9", distilled=False), Calls(126, 107, 72), Calls(103, 0, 26), 5.1
    ),
    "fastvit_t8": Entry(partial(fastvit, "t8"), Calls(68, 70, 77), Calls(52, 0, 10), 4.03),
    "fastvit_sa12": Entry(partial(fastvit, "sa12"), Calls(75, 74, 82), Calls(59, 2, 14), 11.58),
    "orepa": Entry(orepa_net, Calls(3, 3, 0), Calls(3, 0, 0)),
    "efficientrep detector": Entry(
        efficientrep_detector, Calls(67, 67, 39), Calls(49, 0, 4), multiple=32
    ),
    "qarepvgg detector": Entry(
        partial(efficientrep_detector, quantisable=True),
        Calls(67, 61, 34), Calls(49, 0, 4), multiple=32,
    ),
    "cross-stage detector": Entry(
        cross_stage_detector, Calls(79, 73, 34), Calls(66, 0, 10), multiple=32
    ),
    "pplcnet": Entry(pplcnet, Calls(32, 27, 0), Calls(32, 0, 0), 2.95),
    "repghostnet": Entry(repghostnet, Calls(95, 112, 48), Calls(95, 0, 16), 4.07),
    "mobilenetv2": Entry(mobilenetv2, Calls(52, 52, 10), Calls(52, 0, 10), 3.505),
    "resnet18": Entry(resnet18, Calls(20, 20, 8), Calls(20, 0, 8), 11.69),
    "resnet18d": Entry(partial(resnet18, deep=True), Calls(22, 22, 8), Calls(22, 0, 8), 11.71),
}  # fmt: skip

# Too large to be run by every test.
LARGE = {
    "repvgg_d2se": Entry(
        partial(RepVGG, VARIANTS["RepVGG-D2se"]), Calls(192, 139, 91), Calls(144, 0, 0), 133.335
    ),
    "repvggplus_l2pse": Entry(repvggplus_l2pse, Calls(192, 139, 96), Calls(144, 0, 0), 146.063),
    "repvggplus_l2pse, all heads": Entry(
        partial(repvggplus_l2pse, heads_always=True), Calls(195, 142, 96), Calls(147, 0, 0), 146.063
    ),
}


def _acnet_entry(kernel_size: int, padding: int, stride: int) -> Entry:
    build = partial(AsymmetricBlock, 8, 12, kernel_size, padding=padding, stride=stride)
    return Entry(build, Calls(3, 3, 2), Calls(1, 0, 0), channels=8)


def _block(build: Callable[[], nn.Module], before: Calls) -> Entry:
    """Of a block of 16 channels whose forward is one sum: one convolution is left."""
    return Entry(build, before, Calls(1, 0, 0), channels=16)


# A network each, to be fused by themselves.
BLOCKS = {
    **{
        f"acnet k{k} p{p} s{s}": _acnet_entry(k, p, s)
        for k, p, s in ((3, 1, 1), (3, 1, 2), (3, 0, 1), (5, 1, 1), (5, 2, 2), (5, 4, 1))
    },
    "dbb 3x3": _block(partial(DiverseBranchBlock, 16, 24, 3), Calls(5, 6, 8)),
    "dbb 3x3 stride 2 groups 4": _block(
        partial(DiverseBranchBlock, 16, 24, 3, stride=2, groups=4), Calls(5, 6, 8)
    ),
    "dbb 5x5 depthwise": _block(
        partial(DiverseBranchBlock, 16, 16, 5, groups=16), Calls(3, 4, 4)
    ),
    "mobileone 4 branches": _block(
        partial(MobileOneBlock, 16, 16, 3, branches=4), Calls(5, 6, 5)
    ),
    "mobileone depthwise stride 2": _block(
        partial(MobileOneBlock, 16, 16, 3, stride=2, groups=16, branches=4), Calls(5, 5, 5)
    ),
    "mobileone pointwise": _block(partial(MobileOneBlock, 16, 16, 1, branches=2), Calls(2, 3, 3)),
    "qarepvgg": _block(partial(QARepVGGBlock, 16, 16, pooled=True), Calls(2, 2, 3)),
    "orepa": _block(partial(OrepaBlock, 16, 24, stride=2), Calls(1, 1, 0)),
    "repvit token mixer": _block(partial(TokenMixer, 16, norm_after_sum=True), Calls(2, 2, 2)),
    "repmixer": _block(partial(RepMixer, 16), Calls(2, 4, 5)),
    "fastvit large kernel": _block(partial(LargeKernel, 16, 32, 2), Calls(2, 2, 1)),
    "fastvit positional encoding": _block(partial(PositionalEncoding, 16), Calls(1, 0, 1)),
    "repconv": _block(partial(RepConv, 16, 16, identity=True), Calls(2, 3, 2)),
    "repvggdw": _block(partial(RepVGGDW, 16), Calls(2, 2, 1)),
    "repghost module": Entry(
        partial(RepGhostModule, 16, 24, activation=True),
        Calls(2, 3, 1), Calls(2, 0, 0), channels=16,
    ),
    "ecb": _block(
        partial(EdgeBlock, 16, 16, identity=True, multiplied_out=False), Calls(9, 0, 5)
    ),
    "ecb, multiplied out": _block(
        partial(EdgeBlock, 16, 16, identity=True, multiplied_out=True), Calls(9, 0, 13)
    ),
    "transposed in parallel": _block(partial(ParallelUp, 16, 24), Calls(3, 3, 2)),
    "reflected": _block(partial(Reflected, 16), Calls(2, 3, 2)),
    "wrapped around": _block(partial(Reflected, 16, "circular"), Calls(2, 3, 2)),
    "plain block": _block(partial(PlainBlock, 16), Calls(3, 0, 2)),
    "implicit layers": _block(partial(Implicit, 16), Calls(1, 0, 1)),
    "replk block": Entry(
        partial(RepLKBlock, 16, 31), Calls(4, 5, 2), Calls(3, 0, 1), channels=16
    ),
    "cib": Entry(partial(CIB, 16), Calls(6, 6, 2), Calls(5, 0, 1), channels=16),
}  # fmt: skip

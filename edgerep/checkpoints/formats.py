"""How each code base names the parts of a network: tables, read in both directions.

The left column of every table is the canonical name, which is the one in memory: that of the
official RepVGG and RepVGGplus, and of Apple's MobileOne. The right column is the format's. `#`
stands for a number. Sources: the state dicts that these code bases write.
"""

from __future__ import annotations

from dataclasses import dataclass

Names = tuple[tuple[str, str], ...]

# The tensors of convolutions, linear layers and BatchNorms, as torch names them.
LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True)
class Format:
    """One code base's names for one family of networks.

    Attributes:
        writer: What `--to` calls the code base: "official", "timm", "mmpretrain", "paddleclas".
        family: "RepVGG", "RepVGGplus" or "MobileOne".
        blocks: Where blocks stand in the network; of two names for one place the first is
            written, and both are read.
        parts: What stands in a block, down to the module that holds tensors.
        head: The classifier, `linear` in every canonical naming.
        leaves: Of the tensors that torch names otherwise: torch's name, and the format's.
        first_stage: The number that the format gives to the canonical stage 1.
        extras: Beginnings of the names of tensors that only training uses.
        linear_in_out: The classifier's weight is stored as [inputs, classes].
    """

    writer: str
    family: str
    blocks: Names
    parts: Names
    head: str
    leaves: Names = ()
    first_stage: int = 1
    extras: tuple[str, ...] = ()
    linear_in_out: bool = False

    @property
    def title(self) -> str:
        """For people: "timm MobileOne"."""
        writer = {"paddleclas": "PaddleClas"}.get(self.writer, self.writer)
        if self.family == "MobileOne" and writer == "official":
            writer = "Apple"
        return f"{writer} {self.family}"


def _unchanged(*names: str) -> Names:
    return tuple((name, name) for name in names)


_REPVGG_PARTS = _unchanged(
    "rbr_dense.conv", "rbr_dense.bn", "rbr_1x1.conv", "rbr_1x1.bn", "rbr_identity", "rbr_reparam"
)
_MOBILEONE_PARTS = _unchanged(
    "rbr_conv.#.conv", "rbr_conv.#.bn", "rbr_scale.conv", "rbr_scale.bn", "rbr_skip",
    "reparam_conv", "se.reduce", "se.expand",
)  # fmt: skip

FORMATS = (
    Format(
        "official", "RepVGG",
        blocks=_unchanged("stage0", "stage#.#"),
        parts=_REPVGG_PARTS + _unchanged("se.down", "se.up"),
        head="linear",
    ),
    Format(
        "official", "RepVGGplus",
        blocks=_unchanged(
            "stage0", "stage#.blocks.#", "stage#_first.blocks.#", "stage#_second.blocks.#"
        ),
        parts=_REPVGG_PARTS + _unchanged("post_se.down", "post_se.up"),
        head="linear",
        extras=("stage1_aux.", "stage2_aux.", "stage3_first_aux."),
    ),
    Format(
        "official", "MobileOne",
        blocks=_unchanged("stage0", "stage#.#"),
        parts=_MOBILEONE_PARTS,
        head="linear",
    ),
    Format(
        "timm", "RepVGG",
        blocks=(("stage0", "stem"), ("stage#.#", "stages.#.#")),
        parts=(
            ("rbr_dense.conv", "conv_kxk.conv"), ("rbr_dense.bn", "conv_kxk.bn"),
            ("rbr_1x1.conv", "conv_1x1.conv"), ("rbr_1x1.bn", "conv_1x1.bn"),
            ("rbr_identity", "identity"), ("rbr_reparam", "reparam_conv"),
            ("se.down", "attn.fc1"), ("se.up", "attn.fc2"),
        ),
        head="head.fc",
        first_stage=0,
    ),
    Format(
        "timm", "MobileOne",
        blocks=(("stage0", "stem"), ("stage#.#", "stages.#.#")),
        parts=(
            ("rbr_conv.#.conv", "conv_kxk.#.conv"), ("rbr_conv.#.bn", "conv_kxk.#.bn"),
            ("rbr_scale.conv", "conv_scale.conv"), ("rbr_scale.bn", "conv_scale.bn"),
            ("rbr_skip", "identity"), ("reparam_conv", "reparam_conv"),
            ("se.reduce", "attn.fc1"), ("se.expand", "attn.fc2"),
        ),
        head="head.fc",
        first_stage=0,
    ),
    Format(
        "mmpretrain", "RepVGG",
        blocks=(
            ("stage0", "backbone.stem"), ("stage#.#", "backbone.stage_#.#"),
            ("stage0", "stem"), ("stage#.#", "stage_#.#"),
        ),
        parts=(
            ("rbr_dense.conv", "branch_3x3.conv"), ("rbr_dense.bn", "branch_3x3.norm"),
            ("rbr_1x1.conv", "branch_1x1.conv"), ("rbr_1x1.bn", "branch_1x1.norm"),
            ("rbr_identity", "branch_norm"), ("rbr_reparam", "branch_reparam"),
            ("se.down", "se_layer.conv1.conv"), ("se.up", "se_layer.conv2.conv"),
        ),
        head="head.fc",
    ),
    Format(
        "mmpretrain", "MobileOne",
        blocks=(
            ("stage0", "backbone.stage0"), ("stage#.#", "backbone.stage#.#"),
            ("stage0", "stage0"), ("stage#.#", "stage#.#"),
        ),
        parts=(
            ("rbr_conv.#.conv", "branch_conv_list.#.conv"),
            ("rbr_conv.#.bn", "branch_conv_list.#.norm"),
            ("rbr_scale.conv", "branch_scale.conv"), ("rbr_scale.bn", "branch_scale.norm"),
            ("rbr_skip", "branch_norm"), ("reparam_conv", "branch_reparam"),
            ("se.reduce", "se.conv1.conv"), ("se.expand", "se.conv2.conv"),
        ),
        head="head.fc",
    ),
    Format(
        "paddleclas", "RepVGG",
        blocks=_unchanged("stage0", "stage#.#"),
        parts=_REPVGG_PARTS,
        head="linear",
        leaves=(("running_mean", "_mean"), ("running_var", "_variance")),
        linear_in_out=True,
    ),
)  # fmt: skip

WRITERS = ("official", "timm", "mmpretrain")  # code bases whose names fused weights can be given

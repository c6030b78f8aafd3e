"""Networks of other code bases, told by the names of their tensors: what they need to be read.

Their weights say which blocks they have, and not how these are joined: a detector's neck and head
are in its code. So they are called by name, and taken with `--model`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence

# A name, and what the names of its tensors have that no other's have; the first that fits counts.
_NETWORKS: Sequence[tuple[str, str]] = (
    ("YOLOv6", r"(?:^|\.)(?:ERBlock_\d|Rep_[pn]\d|detect\.(?:stems|cls_preds)\.)"),
    ("YOLOv7", r"(?:^|\.)\d+\.(?:rbr_dense\.0|rbr_1x1\.0|ia\.\d+\.implicit|im\.\d+\.implicit)\b"),
    ("YOLO-NAS", r"\.(?:branch_3x3\.conv|post_bn)\.\w+$"),
    ("DAMO-YOLO", r"(?:^|\.)(?:gfl_cls|gfl_reg)\.\d"),
    ("YOLOv8 or another of Ultralytics", r"(?:^|\.)\d+\.dfl\.conv\.weight$"),
    ("YOLOv5", r"(?:^|\.)\d+\.(?:anchors|anchor_grid)$"),
    ("DBB", r"\.dbb_(?:origin|avg|1x1|1x1_kxk)\."),
    ("ACNet", r"\.(?:square_conv|ver_conv|hor_conv)\."),
    ("ECBSR", r"\.conv1x1_(?:sbx|sby|lpl)\."),
    ("RepLKNet", r"\.(?:lkb_origin|small_conv|lkb_reparam)\."),
    ("FastViT", r"(?:^|\.)(?:patch_embed|network)\.\d+\.(?:.*\.)?rbr_skip\."),
)
_BLOCK = re.compile(
    r"(.+)\.(?:rbr_dense|rbr_reparam|branch_3x3|dbb_origin|square_conv|lkb_origin|conv1x1_sbx)\b"
)


def network_told_by(names: Collection[str]) -> tuple[str, int] | None:
    """Whose network has tensors of these names, and how many re-parameterized blocks; or None."""
    for network, pattern in _NETWORKS:
        if any(re.search(pattern, name) for name in names):
            return network, len({found[1] for name in names if (found := _BLOCK.match(name))})
    return None


def how_to_take(names: Collection[str], source: str) -> str:
    """What a file of another network is, and the command that takes it; empty where unknown."""
    found = network_told_by(names)
    what = "" if found is None else f"It looks like {found[0]}"
    if found is not None and found[1]:
        what += f", with {found[1]} re-parameterizable blocks"
    how = (
        f"A network's own code says how its blocks are joined: let a function build it (`def "
        f"build():` in nets.py), and give that: edgerep fuse {shlex.quote(source)} "
        f"--model nets:build -o fused.safetensors"
    )
    return f"{what}. {how}" if what else how

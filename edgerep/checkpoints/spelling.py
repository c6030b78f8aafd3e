"""Translate names of tensors between a code base's format and the canonical one in memory."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from edgerep.checkpoints.formats import FORMATS, LEAVES, WRITERS, Format
from edgerep.errors import OptionError

# Of at most three digits: a name of block 999999999 must not make anybody count that far.
NUMBER = r"[0-9]{1,3}"
# Added by wrappers anywhere in a name: DistributedDataParallel and torch.compile.
WRAPPER_PARTS = frozenset({"module", "_orig_mod"})
_NUMBER = re.compile(rf"(?<=\.){NUMBER}(?=\.)")


def unwrapped_name(name: str) -> str:
    """A tensor's name without the parts that wrappers added."""
    return ".".join(part for part in name.split(".") if part not in WRAPPER_PARTS)


def canonical_name(written_by: Format, name: str) -> str | None:
    """The canonical name of the tensor that the format calls `name`; None if it calls none so.

    In timm, `stages.0.1.conv_kxk.bn.bias` is what is canonically `stage1.1.rbr_dense.bn.bias`.
    """
    return _translate(_dictionary(written_by, to_canonical=True), name)


def format_name(written_by: Format, name: str) -> str | None:
    """The format's name of the tensor with the canonical name `name`; None if it has none."""
    return _translate(_dictionary(written_by, to_canonical=False), name)


def block_name(written_by: Format, name: str) -> str:
    """The format's name of the block with the canonical name `name`; `name` if it has none."""
    ours, theirs = (part.replace("#", "0") for part in written_by.parts[0])
    whole = format_name(written_by, f"{name}.{ours}.weight")
    return name if whole is None else whole.removesuffix(f".{theirs}.weight")


def format_of(writer: str, names: Collection[str]) -> Format:
    """The format of the code base `writer` for the network with these canonical names.

    Raises:
        OptionError: `writer` is none of `WRITERS`, it has no network of this family, or the names
            are of no family that edgerep knows.
    """
    if writer not in WRITERS:
        raise OptionError(f"{writer!r} is no code base that edgerep knows: {', '.join(WRITERS)}")
    families = [
        known.family
        for known in FORMATS
        if known.writer == "official" and all(format_name(known, name) for name in names)
    ]
    for known in FORMATS:
        if known.writer == writer and known.family in families:
            return known
    what = f"no {families[0]}" if families else "no names for this network, which is of your own"
    raise OptionError(f"{writer} has {what}: write its weights with the official names")


@dataclass(frozen=True, slots=True)
class _Dictionary:
    blocks: Sequence[tuple[re.Pattern[str], str]]  # the last group is what stands in the block
    parts: Mapping[str, str]
    leaves: Mapping[str, str]
    head: tuple[str, str]
    shift: int  # of the number of a stage


@cache
def _dictionary(written_by: Format, *, to_canonical: bool) -> _Dictionary:
    leaves = {**{leaf: leaf for leaf in LEAVES}, **dict(written_by.leaves)}

    def turned(pair: tuple[str, str]) -> tuple[str, str]:
        return (pair[1], pair[0]) if to_canonical else pair

    return _Dictionary(
        blocks=[(_block_pattern(old), new) for old, new in map(turned, written_by.blocks)],
        parts=dict(map(turned, written_by.parts)),
        leaves=dict(map(turned, leaves.items())),
        head=turned(("linear", written_by.head)),
        shift=(1 - written_by.first_stage) if to_canonical else (written_by.first_stage - 1),
    )


def _block_pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\#", f"({NUMBER})") + r"\.(.+)")


def _translate(words: _Dictionary, name: str) -> str | None:
    owner, _, leaf = name.rpartition(".")
    if leaf not in words.leaves:
        return None
    if owner == words.head[0]:
        return f"{words.head[1]}.{words.leaves[leaf]}"
    for pattern, block in words.blocks:
        if match := pattern.fullmatch(owner):
            *numbers, part = match.groups()
            if (general := _NUMBER.sub("#", part)) not in words.parts:
                return None
            if numbers:
                numbers[0] = str(int(numbers[0]) + words.shift)
            numbers += _NUMBER.findall(part)
            whole = f"{block}.{words.parts[general]}.{words.leaves[leaf]}"
            for number in numbers:
                whole = whole.replace("#", number, 1)
            return whole
    return None

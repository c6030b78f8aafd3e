"""Find out which code base wrote a table of tensors, and give the tensors their canonical names.

Rules, in this order:

1. The format that has a name for the most tensors is taken. RepVGG and MobileOne have the same
   names in timm once they are fused: a 1x1 kernel says MobileOne.
2. The network may stand under a prefix. Tensors outside the prefix are left aside.
3. Of networks under several prefixes the averaged one (`ema` in its prefix) is taken; where that
   does not decide, the file is refused.
4. PaddleClas keeps fused convolutions beside the branches they were computed from: the branches are
   taken.
5. PaddleClas stores the classifier's weight as [inputs, classes], everyone else as [classes,
   inputs]. The bias says which it is; where the weight is square, the format's convention holds.

What was decided is put into `Identified.notes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from edgerep.checkpoints.formats import FORMATS, Format
from edgerep.checkpoints.other_networks import how_to_take
from edgerep.checkpoints.spelling import NUMBER, canonical_name, format_name
from edgerep.errors import CheckpointError

_SHOWN = 4  # names in a note


@dataclass(frozen=True, eq=False)
class Identified:
    """A table of tensors under canonical names.

    Attributes:
        written_by: The format it was written in.
        prefix: What stands in front of every name of the network in the file; empty for none.
        tensors: By canonical name; tensors that have none keep the name in the file.
        names: From a name in `tensors` to the name in the file.
        notes: What was decided, in words.
    """

    written_by: Format
    prefix: str
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    notes: tuple[str, ...]

    def spell(self, name: str) -> str:
        """A canonical name as the file has it, or would have it."""
        if name in self.names:
            return self.names[name]
        return self.prefix + (format_name(self.written_by, name) or name)


def identify(tensors: Mapping[str, Tensor], source: str) -> Identified:
    """The format of a table of tensors, and the tensors under canonical names.

    Args:
        tensors: As the file names them, wrappers removed.
        source: The file's name, for errors.

    Raises:
        CheckpointError: The names are of no format that edgerep knows, or of two networks.
    """
    prefix, written_by, notes = _choose(tensors, source)
    canonical: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    extras, outside = [], []
    for name, tensor in tensors.items():
        bare = name.removeprefix(prefix)
        if not name.startswith(prefix):
            outside.append(name)
        elif bare.startswith(written_by.extras):
            extras.append(name)
        else:
            new = canonical_name(written_by, bare) or name
            canonical[new], names[new] = tensor, name
    if prefix:
        notes.append(f"prefix '{prefix}' removed")
    if outside:
        notes.append(f"left aside, outside '{prefix}': {_listed(outside)}")
    if extras:
        notes.append(f"auxiliary classifiers, which only training uses, dropped: {_listed(extras)}")
    if written_by.linear_in_out:
        notes += _drop_cached_fusions(canonical)
    notes += _orient_linear(canonical, written_by)
    return Identified(written_by, prefix, canonical, names, tuple(notes))


def _choose(tensors: Mapping[str, Tensor], source: str) -> tuple[str, Format, list[str]]:
    """Prefix and format of the network, and what was decided."""
    best: dict[str, tuple[int, list[Format]]] = {}  # by prefix: tensors named, formats that do
    for known in FORMATS:
        for prefix in _prefixes(tensors, known):
            bare = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
            count = sum(canonical_name(known, name) is not None for name in bare)
            most, candidates = best.get(prefix, (0, []))
            if count > most:
                best[prefix] = (count, [known])
            elif count == most:
                candidates.append(known)
    if not best:
        first = ", ".join(sorted(tensors)[:6])
        titles = ", ".join(known.title for known in FORMATS)
        raise CheckpointError(
            f"{source} has the names of no format that edgerep reads ({titles}): it has "
            f"{len(tensors)} tensors, the first are {first}. {how_to_take(tensors, source)}"
        )
    prefix, notes = _one_prefix(list(best), source)
    _, candidates = best[prefix]
    if len(candidates) > 1 and {known.family for known in candidates} == {"RepVGG", "MobileOne"}:
        family = "MobileOne" if _has_pointwise(tensors, prefix, candidates[0]) else "RepVGG"
        candidates = [known for known in candidates if known.family == family]
        why = "has" if family == "MobileOne" else "has no"
        notes.append(f"named like RepVGG and MobileOne alike; {why} 1x1 kernels: {family}")
    return prefix, candidates[0], notes


def _prefixes(tensors: Mapping[str, Tensor], written_by: Format) -> set[str]:
    """What stands in front of the names of a format's convolutions, wherever they occur."""
    blocks = "|".join(_pattern(theirs) for _, theirs in written_by.blocks)
    # Not the 1x1 and scale branches: in timm and MobileOne they are alike.
    kernels = [theirs for ours, theirs in written_by.parts if ours in _KERNELS]
    parts = "|".join(map(_pattern, kernels))
    whole = re.compile(rf"((?:\w+\.)*?)(?:{blocks})\.(?:{parts})\.weight")
    found = {match[1] for name in tensors if (match := whole.fullmatch(name))}
    told_apart = {theirs for _, theirs in written_by.leaves}
    if told_apart and not any(name.rpartition(".")[2] in told_apart for name in tensors):
        return set()
    return found


_KERNELS = ("rbr_dense.conv", "rbr_reparam", "rbr_conv.#.conv", "reparam_conv")


def _pattern(template: str) -> str:
    return re.escape(template).replace(r"\#", NUMBER)


def _one_prefix(prefixes: list[str], source: str) -> tuple[str, list[str]]:
    averaged = [prefix for prefix in prefixes if "ema" in prefix.lower()]
    if len(prefixes) == 1:
        return prefixes[0], []
    shown = ", ".join(f"'{prefix}'" for prefix in sorted(prefixes))
    if len(averaged) != 1:
        raise CheckpointError(
            f"{source} holds {len(prefixes)} networks, under the prefixes {shown}: save the one "
            f"that is meant into a file of its own"
        )
    return averaged[0], [f"of the networks under {shown} the averaged one taken: '{averaged[0]}'"]


def _has_pointwise(tensors: Mapping[str, Tensor], prefix: str, written_by: Format) -> bool:
    theirs = dict(written_by.parts)
    name = theirs.get("rbr_reparam") or theirs["reparam_conv"]
    return any(
        tensor.ndim == 4 and tensor.shape[-1] == 1
        for key, tensor in tensors.items()
        if key.startswith(prefix) and key.endswith(f".{name}.weight")
    )


def _drop_cached_fusions(tensors: dict[str, Tensor]) -> list[str]:
    cached = [
        name
        for name in tensors
        if ".rbr_reparam." in name
        and f"{name.partition('.rbr_reparam.')[0]}.rbr_dense.conv.weight" in tensors
    ]
    for name in cached:
        del tensors[name]
    if not cached:
        return []
    return [f"branches read; the fused convolutions saved beside them dropped: {_listed(cached)}"]


def _orient_linear(tensors: dict[str, Tensor], written_by: Format) -> list[str]:
    if written_by.family != "RepVGG" or written_by.writer not in ("official", "paddleclas"):
        return []  # PaddleClas's fused networks have the official names
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.ndim != 1:
        return []
    rows, columns = weight.shape
    if rows == columns:
        if not written_by.linear_in_out:
            return []
        why = "square, so that its shape does not say; [inputs, classes] is PaddleClas's way"
    elif columns != len(bias):
        if written_by.linear_in_out:
            return ["linear.weight is [classes, inputs] already, unlike in PaddleClas: kept"]
        return []
    else:
        why = "[inputs, classes], PaddleClas's way"
    tensors["linear.weight"] = weight.t()
    return [f"linear.weight [{rows}, {columns}] is {why}: transposed"]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

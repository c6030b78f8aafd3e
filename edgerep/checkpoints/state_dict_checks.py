"""Refuse a checkpoint's tensors that are missing, unexpected, misshapen or unsound: all listed.

For the networks that edgerep knows and for those of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from edgerep.errors import CheckpointError

WEIGHT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def is_counter(key: str) -> bool:
    """Whether a tensor counts training steps: not every writer saves it, and nothing uses it."""
    return key.endswith("num_batches_tracked")


def require_same_tensors(
    wanted: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    refusal: str,
    *,
    strangers: Mapping[str, Tensor] | None = None,
    spell: Callable[[str], str] = str,
) -> None:
    """Refuse weights that are not those of a network; counters of training steps may be missing.

    Args:
        wanted: The network's own tensors by name; only their shapes and types are looked at.
        given: The checkpoint's tensors, under the network's names.
        refusal: How the message begins.
        strangers: The checkpoint's tensors that the network has no name for; if omitted, what is
            in `given` and not in `wanted`.
        spell: From a name of `wanted` or `given` to the one in the checkpoint, for the message.

    Raises:
        CheckpointError: A tensor is missing, unexpected or misshapen, or has integers in the place
            of weights, or weights in the place of integers; all are named.
    """
    if strangers is None:
        strangers = {key: tensor for key, tensor in given.items() if key not in wanted}
    there = {key: given[key] for key in wanted if key in given}
    _refuse(refusal, [
        *(f"missing: {spell(key)} {list(tensor.shape)}"
          for key, tensor in wanted.items() if key not in there and not is_counter(key)),
        *(f"unexpected: {spell(key)} {list(tensor.shape)}" for key, tensor in strangers.items()),
        *(f"misshapen: {spell(key)} is {list(tensor.shape)}, should be {list(wanted[key].shape)}"
          for key, tensor in there.items() if tensor.shape != wanted[key].shape),
        *(f"{spell(key)} is {tensor.dtype}, should be {wanted[key].dtype}"
          for key, tensor in there.items()
          if tensor.is_floating_point() != wanted[key].is_floating_point()),
    ])  # fmt: skip


def require_sound_values(
    tensors: Mapping[str, Tensor],
    refusal: str,
    *,
    eps: Mapping[str, float],
    types: Sequence[torch.dtype] = (),
    may_be_infinite: Collection[str] = (),
    spell: Callable[[str], str] = str,
) -> None:
    """Refuse numbers that no trained network has.

    Args:
        tensors: By name, of any type.
        refusal: How the message begins.
        eps: What is added to each running variance, by the variance's name.
        types: Those that floating-point tensors may have; if empty, any.
        may_be_infinite: Names of tensors that may hold infinities, such as masks; never NaN.
        spell: From a name of `tensors` to the one in the checkpoint, for the message.

    Raises:
        CheckpointError: A tensor has NaN or infinities, or a floating-point type beside
            `types`, or a running variance is not positive with its eps; all are named.
    """
    problems = []
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        if types and tensor.dtype not in types:
            kinds = ", ".join(str(kind).removeprefix("torch.") for kind in types)
            problems.append(f"{spell(key)} is {tensor.dtype}, and weights are one of {kinds}")
            continue
        values = tensor if tensor.dtype in WEIGHT_TYPES else tensor.float()
        counts = {"NaN": int(values.isnan().sum()), "infinite": int(values.isinf().sum())}
        if key in may_be_infinite:
            del counts["infinite"]
        if bad := [f"{count} {kind}" for kind, count in counts.items() if count]:
            problems.append(f"{spell(key)} has {' and '.join(bad)} values of {tensor.numel()}")
        elif key in eps and not (tensor.double() + eps[key] > 0).all():
            low = tensor.min().item()
            problems.append(f"{spell(key)} + eps is not positive: its smallest value is {low:.3g}")
    _refuse(refusal, problems)


def _refuse(refusal: str, problems: list[str]) -> None:
    if problems:
        raise CheckpointError(f"{refusal}:\n  " + "\n  ".join(problems))

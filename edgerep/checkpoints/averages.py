"""Averaged weights (EMA, SWA): how trainers name them, and what of the raw weights completes them.

A trainer keeps the average under a key of its own (`state_dict_ema`, `params_ema`, `swa_model`),
under a prefix in one table with the raw weights (`avg_model.`, `model_ema.`), or as a list of
tensors without names (`shadow_params` of torch_ema and diffusers), which is in the order of the
network's parameters. Many average the parameters alone: the running statistics of BatchNorms are
then the raw network's, as the trainer itself evaluates the average.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from edgerep.checkpoints.spelling import unwrapped_name

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_AVERAGE = frozenset(
    {"ema", "ewma", "swa", "avg", "average", "averaged", "averaging", "polyak", "shadow", "teacher"}
)
# Of what lies beside weights: an optimizer's averages are of gradients.
_TRAINING = frozenset(
    {"optimizer", "optimizers", "optim", "scheduler", "schedulers", "scaler", "loss", "losses",
     "criterion", "decay", "updates", "config", "args", "sampler", "discriminator"}
)  # fmt: skip
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_LONGEST_KEY = 200


def is_average(key: object) -> bool:
    """Whether a trainer's key or prefix names averaged weights."""
    found = _words(key)
    return bool(found & _AVERAGE) and not found & _TRAINING


def is_training_state(key: object) -> bool:
    """Whether a key names what only training uses: the state of an optimizer, say."""
    return bool(_words(key) & _TRAINING)


def _words(key: object) -> frozenset[str]:
    """The words of a key in lower case: `modelEMA`, `model_ema` and `model.ema` have the same."""
    if not isinstance(key, str):
        return frozenset()
    return frozenset(word.lower() for word in _WORD.findall(key[:_LONGEST_KEY]))


def named(values: Sequence[Tensor], raw: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Averages without names under the names of the raw weights; None where they do not line up.

    Args:
        values: In the order of the network's parameters.
        raw: The raw weights and buffers, in the order of a `state_dict`, which has the parameters
            in that order too.
    """
    parameters = [key for key in raw if not key.endswith(_STATISTICS)]
    if [tuple(raw[key].shape) for key in parameters] != [tuple(one.shape) for one in values]:
        return None
    return dict(zip(parameters, values, strict=True))


def completed(
    average: Mapping[str, Tensor], raw: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], int]:
    """An average with what it lacks of the raw weights; how many tensors that were.

    Nothing is added where the two do not name the same network.
    """
    there = {unwrapped_name(key) for key in average}
    theirs = {unwrapped_name(key): key for key in raw}
    missing = [key for bare, key in theirs.items() if bare not in there]
    alike = len(theirs) - len(missing)
    if not missing or 2 * alike < len(there):
        return dict(average), 0
    return {**average, **{key: raw[key] for key in missing}}, len(missing)


def same_network(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether the tensors of two tables have the same names and shapes, wrappers apart."""
    mine, theirs = (
        {unwrapped_name(key): tuple(tensor.shape) for key, tensor in table.items()}
        for table in (one, other)
    )
    return mine == theirs


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """One table without the network that stands in it a second time, averaged or raw.

    Under a prefix of an average (`avg_model.`, `model_ema.`) there must be the names and shapes
    of the other network, so that a part of a network that is called `ema` is none.

    Returns:
        The averaged weights without their prefix, completed by the raw ones; what was done. The
        table as it is where it holds one network.
    """
    swapped = _without_swapped(tensors)
    if swapped is not None:
        return swapped
    for prefix in dict.fromkeys(key.partition(".")[0] for key in tensors if "." in key):
        if not is_average(prefix) or "teacher" in prefix.lower():  # which may be another network
            continue
        inside = {k.partition(".")[2]: t for k, t in tensors.items() if k.startswith(f"{prefix}.")}
        outside = {k: t for k, t in tensors.items() if not k.startswith(f"{prefix}.")}
        for other in ["", *dict.fromkeys(f"{key.partition('.')[0]}." for key in outside)]:
            raw = {k.removeprefix(other): t for k, t in outside.items() if k.startswith(other)}
            average = _respelt(inside, raw)
            if _is_twin(average, raw):
                full, added = completed(average, raw)
                where = f"under '{other}'" if other else "without a prefix"
                more = f"; {added} tensors that are not averaged are the raw network's"
                note = (
                    f"averaged weights taken from under '{prefix}.'; left aside: the raw weights "
                    f"{where}{more if added else ''}"
                )
                return full, [note]
    return dict(tensors), []


def _without_swapped(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], list[str]] | None:
    """The hook of mmcv names a copy `ema_` and a name with underscores, and swaps on saving."""
    copies = {f"ema_{key.replace('.', '_')}" for key in tensors} & tensors.keys()
    if not copies:
        return None
    kept = {key: tensor for key, tensor in tensors.items() if key not in copies}
    note = (
        f"the averaged weights are those under plain names, as mmcv swaps the two on saving; "
        f"{len(copies)} raw ones, 'ema_...', left aside"
    )
    return kept, [note]


def _respelt(average: Mapping[str, Tensor], raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An average under the raw network's names, where its own are those without their dots."""
    dotless = {key.replace(".", ""): key for key in raw if "." in key}
    return {dotless.get(key, key): tensor for key, tensor in average.items()}


def _is_twin(average: Mapping[str, Tensor], raw: Mapping[str, Tensor]) -> bool:
    weights = {key: tensor for key, tensor in average.items() if tensor.ndim}
    same = sum(key in raw and raw[key].shape == tensor.shape for key, tensor in weights.items())
    return bool(weights) and 10 * same >= 9 * len(weights)


def plain_tensors(table: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Only what is a tensor like any other, by name."""
    return {
        str(key): value
        for key, value in table.items()
        if isinstance(value, Tensor) and not value.is_nested and not value.is_quantized
    }

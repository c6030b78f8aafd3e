"""Every missing, unexpected, misshapen and unsound tensor is named at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgerep.checkpoints.state_dict_checks import (
    WEIGHT_TYPES,
    require_same_tensors,
    require_sound_values,
)
from edgerep.errors import CheckpointError

WANTED = {
    "conv.weight": torch.zeros(2, 3, 1, 1),
    "bn.running_var": torch.ones(2),
    "bn.num_batches_tracked": torch.tensor(0),
}


def refusal(given: dict[str, Tensor], **options: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        require_same_tensors(WANTED, given, "a.pth is not it", **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_the_same_tensors_pass_and_counters_may_be_missing() -> None:
    require_same_tensors(WANTED, WANTED, "")
    require_same_tensors(WANTED, {k: t for k, t in WANTED.items() if "tracked" not in k}, "")


def test_all_offenders_are_named_as_the_file_spells_them() -> None:
    given = {"bn.running_var": torch.ones(3), "more": torch.zeros(4)}
    assert refusal(given, spell=str.upper) == (
        "a.pth is not it:\n"
        "  missing: CONV.WEIGHT [2, 3, 1, 1]\n"
        "  unexpected: MORE [4]\n"
        "  misshapen: BN.RUNNING_VAR is [3], should be [2]"
    )


def test_integers_are_no_weights() -> None:
    given = {**WANTED, "conv.weight": torch.zeros(2, 3, 1, 1, dtype=torch.int8)}
    assert "conv.weight is torch.int8, should be torch.float32" in refusal(given)


def test_a_counter_that_is_there_has_to_be_one() -> None:
    given = {**WANTED, "bn.num_batches_tracked": torch.zeros(2)}
    said = refusal(given)
    assert "misshapen: bn.num_batches_tracked is [2], should be []" in said
    assert "bn.num_batches_tracked is torch.float32, should be torch.int64" in said


def test_strangers_are_those_that_were_given_as_such() -> None:
    assert "unexpected: theirs.odd [1]" in refusal(WANTED, strangers={"theirs.odd": torch.ones(1)})


def unsound(tensors: dict[str, Tensor], **options: object) -> str:
    fields = {"eps": {"bn.running_var": 1e-5}, **options}
    with pytest.raises(CheckpointError) as caught:
        require_sound_values(tensors, "a.pth is unsound", **fields)  # type: ignore[arg-type]
    return str(caught.value)


def test_nan_and_infinities_are_counted_and_variances_must_be_positive() -> None:
    values = torch.tensor([1, float("nan"), float("-inf")])
    said = unsound({"conv.weight": values, "bn.running_var": torch.tensor([1.0, -1.0])})
    assert "conv.weight has 1 NaN and 1 infinite values of 3" in said
    assert "bn.running_var + eps is not positive: its smallest value is -1" in said


def test_a_mask_may_be_infinite_but_not_nan() -> None:
    mask = {"mask": torch.tensor([0.0, float("-inf")])}
    require_sound_values(mask, "", eps={}, may_be_infinite=["mask"])
    mask["mask"][0] = float("nan")
    assert "mask has 1 NaN" in unsound(mask, may_be_infinite=["mask"])


def test_types_that_weights_do_not_have_are_named() -> None:
    narrow = torch.zeros(2).to(torch.float8_e4m3fn)
    said = unsound({"w": narrow}, types=WEIGHT_TYPES)
    assert "w is torch.float8_e4m3fn, and weights are one of float32" in said
    require_sound_values({"w": narrow}, "", eps={})


def test_integers_are_not_looked_at() -> None:
    require_sound_values({"n": torch.tensor(3)}, "", eps={})

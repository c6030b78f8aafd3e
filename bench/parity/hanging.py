"""Which outputs of a network hang on a decision: found out by deciding otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgerep.bench.parity.answers import Answers, Questions

_MOST = 8  # decisions that are tried; each is a run of the reference


def outputs_behind(
    questions: Questions, answers: Answers, decisions: Sequence[int]
) -> tuple[int, ...]:
    """The outputs that change where the network decides otherwise, by their number.

    Args:
        questions: Whom to ask.
        answers: The network's own, of which the first is taken.
        decisions: Which of the network's decisions, in the order of its run; the first few.
    """
    if not decisions:
        return ()
    rows = [array[:1] for array in answers.inputs]
    none = [None] * len(answers.truth.choices)
    plain = questions.again(rows, none)
    found: set[int] = set()
    for at in decisions[:_MOST]:
        choice = answers.truth.choices[at]
        if choice is None:
            continue
        forced = [*none[:at], choice.part(slice(0, 1)).another(), *none[at + 1 :]]
        told = questions.again(rows, forced)
        found |= {
            index
            for index, (one, other) in enumerate(zip(told.outputs, plain.outputs, strict=True))
            if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        }
    return tuple(sorted(found))

"""The reference's answers, block of probes after block, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.references.deciding import Told, joined, told
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.sessions.runnable import Runnable
from edgerep.data.probes import Probes
from edgerep.errors import EdgerepError

_ROWS_AT_ONCE = 8  # that the reference is given; says how often it can tell how far it is
_ROWS_OF_A_BLOCK = 32  # as many different images as a batch of usual size has
_BYTES_OF_A_BLOCK = 256 * 2**20  # of the outputs of one block in float64


@dataclass(frozen=True, eq=False)
class Questions:
    """The reference as an artefact sees it: behind its preprocessing, before its softmax."""

    reference: Reference | OnnxReference
    runnable: Runnable

    def answers(self, rows: Sequence[Array]) -> tuple[Told, Told]:
        """The answers in float64, and in float32 with the choices of the other."""
        truth, own = self.reference.answers(rows, self.runnable.preprocessing)
        return self._finished(truth), self._finished(own)

    def again(self, rows: Sequence[Array], forced: Sequence[Array | None]) -> Told:
        """The answers to one probe in float64, with these choices made."""
        run = self.reference.outputs64
        found = told(
            lambda some: run(some, self.runnable.preprocessing),
            rows,
            at_once=self.reference.fixed_batch or 1,
            forced=forced,
            full=True,
        )
        return self._finished(found)

    def _finished(self, found: Told) -> Told:
        finish = _softmax if self.runnable.probabilities else _as_they_are
        return Told(tuple(map(finish, found.outputs)), found.choices)


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of the reference to one block of probes.

    Attributes:
        start: Which probe the first of the block is.
        inputs: The probes, one array [N, ...] for each input.
        truth: In float64.
        own_float32: As the reference computes them in float32, with the choices of `truth`.
    """

    start: int
    inputs: tuple[Array, ...]
    truth: Told
    own_float32: Told

    def __len__(self) -> int:
        return len(self.inputs[0])


def answered(
    questions: Questions, probes: Probes, watch: Callable[[int], None]
) -> Iterator[Answers]:
    """Blocks of the answers to all probes, in order, as long as their outputs leave room.

    Args:
        questions: Whom to ask.
        probes: What to ask.
        watch: Told how many probes the reference has answered.

    Raises:
        EdgerepError: The reference fails, or gives NaN, or nothing but infinities.
    """

    def answer(start: int) -> Answers:
        rows = probes.block(start, min(start + _ROWS_AT_ONCE, len(probes)))
        truth, own = questions.answers(rows)
        _require_numbers(truth.outputs, questions)
        watch(start + len(rows[0]))
        return Answers(start, rows, truth, own)

    starts = range(0, len(probes), _ROWS_AT_ONCE)
    first = answer(0)
    room = _BYTES_OF_A_BLOCK // max(1, sum(output.nbytes for output in first.truth.outputs))
    parts = max(1, min(_ROWS_OF_A_BLOCK // _ROWS_AT_ONCE, room))
    for block in np.array_split(np.array(starts), -(-len(starts) // parts)):
        yield _joined([answer(int(start)) if start else first for start in block])


def _joined(parts: Sequence[Answers]) -> Answers:
    inputs = zip(*(part.inputs for part in parts), strict=True)
    return Answers(
        parts[0].start,
        tuple(np.concatenate(arrays) for arrays in inputs),
        joined([part.truth for part in parts]),
        joined([part.own_float32 for part in parts]),
    )


def _require_numbers(truth: tuple[Array, ...], questions: Questions) -> None:
    reference, runnable = questions.reference, questions.runnable
    names = output_names(runnable, len(truth))
    both = list(zip(names, truth, strict=True))
    bad = [f"{name}: NaN" for name, t in both if np.isnan(t).any()]
    bad += [f"{name}: infinite everywhere" for name, t in both if t.size and np.isinf(t).all()]
    if bad:
        raise EdgerepError(
            f"the reference {reference.name} gives no numbers in float64 ({', '.join(bad)}): "
            f"there is nothing to compare {runnable.title} with"
        )


def output_names(runnable: Runnable, count: int) -> tuple[str, ...]:
    """What the outputs are called: by the artefact where it has as many, else by number."""
    if len(runnable.outputs) == count:
        return tuple(spec.name for spec in runnable.outputs)
    return ("logits",) if count == 1 else tuple(f"output_{index}" for index in range(count))


def _softmax(logits: Array) -> Array:
    shifted: Array = np.exp(logits - logits.max(1, keepdims=True))
    result: Array = shifted / shifted.sum(1, keepdims=True)
    return result


def _as_they_are(outputs: Array) -> Array:
    return outputs

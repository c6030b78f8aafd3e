"""The reference's answers, block of probes after block, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.probes import Probes
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.sessions.runnable import Runnable
from edgerep.errors import EdgerepError

_ROWS_AT_ONCE = 8  # that the reference is given; says how often it can tell how far it is
_ROWS_OF_A_BLOCK = 32  # as many different images as a batch of usual size has
_BYTES_OF_A_BLOCK = 256 * 2**20  # of the outputs of one block in float64


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of the reference to one block of probes.

    Attributes:
        start: Which probe the first of the block is.
        inputs: The probes, one array [N, ...] for each input.
        truth: Each output in float64, or in integers as the network gives them.
        own_float32: Each output as the reference computes it in float32.
    """

    start: int
    inputs: tuple[Array, ...]
    truth: tuple[Array, ...]
    own_float32: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.inputs[0])


def answered(
    reference: Reference | OnnxReference,
    runnable: Runnable,
    probes: Probes,
    watch: Callable[[int], None],
) -> Iterator[Answers]:
    """Blocks of the answers to all probes, in order, as long as their outputs leave room.

    Args:
        reference: Asked for its answers.
        runnable: One of those that are compared: its preprocessing is done before the reference,
            its softmax behind.
        probes: To answer.
        watch: Told how many probes the reference has answered.

    Raises:
        EdgerepError: The reference fails, or gives NaN or infinity.
    """

    def answer(start: int) -> Answers:
        rows = probes.block(start, min(start + _ROWS_AT_ONCE, len(probes)))
        finish = _softmax if runnable.probabilities else _as_they_are
        exact, single = reference.answers(rows, runnable.preprocessing)
        truth, narrow = tuple(map(finish, exact)), tuple(map(finish, single))
        _require_finite(truth, reference, runnable)
        watch(start + len(rows[0]))
        return Answers(start, rows, truth, narrow)

    starts = range(0, len(probes), _ROWS_AT_ONCE)
    first = answer(0)
    room = _BYTES_OF_A_BLOCK // max(1, sum(output.nbytes for output in first.truth))
    parts = max(1, min(_ROWS_OF_A_BLOCK // _ROWS_AT_ONCE, room))
    for block in np.array_split(np.array(starts), -(-len(starts) // parts)):
        yield _joined([answer(int(start)) if start else first for start in block])


def _joined(parts: list[Answers]) -> Answers:
    inputs, truth, narrow = (
        tuple(np.concatenate(arrays) for arrays in zip(*columns, strict=True))
        for columns in (
            [part.inputs for part in parts],
            [part.truth for part in parts],
            [part.own_float32 for part in parts],
        )
    )
    return Answers(parts[0].start, inputs, truth, narrow)


def _require_finite(
    truth: tuple[Array, ...], reference: Reference | OnnxReference, runnable: Runnable
) -> None:
    names = output_names(runnable, len(truth))
    if bad := [n for n, t in zip(names, truth, strict=True) if not np.isfinite(t).all()]:
        raise EdgerepError(
            f"the reference {reference.name} gives NaN or infinity in float64 ({', '.join(bad)}): "
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

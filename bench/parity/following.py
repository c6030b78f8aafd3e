"""Follow the choices that an artefact makes: compare behind them as the reference would go on.

The reference runs again in float64 with the artefact's choice wherever that is another than its
own. Where a runtime shows tensors inside the graph, what stands before the choice is compared as
any output is, and the choice must be a best one by the artefact's own scores: so nothing is allowed
that the artefact did not compute rightly. Where it does not, an output that is the choice itself,
such as a map of classes, still tells it; it must be a best one by the reference's scores then, but
for the margin that rounding leaves between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.answers import Answers, Questions
from edgerep.bench.parity.references.choices import Choice, Told, regret
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.session import Session
from edgerep.errors import EdgerepError
from edgerep.export.graph.choices import GraphChoice

# Candidates are ruled out by a score that is infinite, or the least that its type has.
_RULED_OUT = 1e30
_RULED_OUT_OF_FLOAT16 = 6e4


@dataclass(frozen=True, eq=False)
class Followed:
    """One batch of an artefact, beside the reference that made the same choices.

    Attributes:
        outputs: Of the artefact.
        truth: The outputs of the reference, for the same rows.
        before: Of each choice that is followed: the scores of the artefact and of the reference;
            none where the runtime does not show them.
        regrets: Of each: [N], 0 where the choice was a best one, by the artefact's own scores or,
            where these are not shown, by the reference's.
        otherwise: Of each: in how many rows the reference by itself chooses otherwise.
    """

    outputs: Sequence[Array]
    truth: Sequence[Array]
    before: tuple[tuple[Array, Array], ...] = ()
    regrets: tuple[Array, ...] = ()
    otherwise: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Follower:
    """Runs an artefact, and asks the reference again where the artefact chose otherwise.

    Attributes:
        session: Gives the scores and the indices of each of `nodes` behind the outputs.
        nodes: The choices of the artefact's graph.
        pairs: Of each choice that is followed: which of `nodes` it is, or which output where there
            are none, and which of the reference's choices. Found in the first batch.
        again: What the reference said again, by probe and choice.
    """

    session: Session
    nodes: tuple[GraphChoice, ...] = ()
    pairs: list[tuple[int, int]] = field(default_factory=list)
    again: dict[tuple[int, bytes], Told] = field(default_factory=dict)

    def run(self, questions: Questions, answers: Answers, order: NDArray[np.int64]) -> Followed:
        """Run the probes `order` of a block as one batch."""
        found = self.session.run(*(array[order] for array in answers.inputs))
        truth = [output[order] for output in answers.truth.outputs]
        outputs = found[: len(found) - 2 * len(self.nodes)]
        if not any(answers.truth.choices) or [o.shape for o in outputs] != [t.shape for t in truth]:
            return Followed(outputs, truth)
        seen = _seen(self.nodes, found[len(outputs) :])
        if not self.pairs:
            choices = answers.truth.choices
            self.pairs.extend(
                _pairs(seen, choices) if seen else _maps(answers.truth.outputs, choices)
            )
        known = [self._choice(answers, choice) for _, choice in self.pairs]
        if seen:
            scores = [seen[node][0] for node, _ in self.pairs]
            chosen = [seen[node][1] for node, _ in self.pairs]
        else:
            scores = [choice.scores[order] for choice in known]
            chosen = [
                outputs[at].reshape(len(order), *choice.indices.shape[1:]).astype(np.int64)
                for (at, _), choice in zip(self.pairs, known, strict=True)
            ]
        regrets = tuple(map(regret, scores, known, chosen))
        wanted = [choice.scores[order] for choice in known]
        other = [
            (indices != choice.indices[order]).reshape(len(order), -1).any(1)
            for indices, choice in zip(chosen, known, strict=True)
        ]
        sound = np.all([np.isfinite(one) for one in regrets], axis=0)
        rows = np.flatnonzero(np.any(other, axis=0) & sound)
        for row in rows:
            told = self._told(questions, answers, int(order[row]), [c[row] for c in chosen])
            for target, source in zip(truth, told.outputs, strict=True):
                target[row] = source[0]
            for target, (_, at) in zip(wanted, self.pairs, strict=True):
                choice = told.choices[at]
                if choice is not None:
                    target[row] = choice.scores[0]
        return Followed(
            outputs,
            truth,
            tuple(map(candidates, scores, wanted)) if seen else (),
            regrets,
            tuple(int(one.sum()) for one in other),
        )

    def _choice(self, answers: Answers, at: int) -> Choice:
        choice = answers.truth.choices[at]
        if choice is None:  # the first block had it
            raise EdgerepError(
                f"{answers.start}: the reference makes other choices than for the images before"
            )
        return choice

    def _told(
        self, questions: Questions, answers: Answers, probe: int, chosen: Sequence[Array]
    ) -> Told:
        key = (answers.start + probe, b"".join(indices.tobytes() for indices in chosen))
        if key not in self.again:
            forced: list[Array | None] = [None] * len(answers.truth.choices)
            for (_, at), indices in zip(self.pairs, chosen, strict=True):
                forced[at] = indices[None]
            self.again[key] = questions.again(
                [a[probe : probe + 1] for a in answers.inputs], forced
            )
        return self.again[key]

    def forget(self) -> None:
        """Drop what the reference said about the block of probes that is done with."""
        self.again.clear()


def open_follower(runnable: Runnable, *, follow: bool) -> Follower:
    """A follower of an artefact; without choices to follow it only runs the artefact.

    Args:
        runnable: The artefact.
        follow: Whether the reference tells of choices of its own.

    Raises:
        EdgerepError: The runtime is missing, or refuses the file.
    """
    if follow and runnable.observer is not None:
        nodes = tuple(runnable.choices())
        if nodes:
            names = [name for node in nodes for name in (node.scores, node.indices)]
            return Follower(runnable.observer(names), nodes)
    return Follower(runnable.open())


def _seen(nodes: Sequence[GraphChoice], found: Sequence[Array]) -> list[tuple[Array, Array]]:
    pairs = zip(nodes, found[::2], found[1::2], strict=True)
    return [(scores, node.with_axis(indices, scores)) for node, scores, indices in pairs]


def _pairs(
    seen: Sequence[tuple[Array, Array]], choices: Sequence[Choice | None]
) -> list[tuple[int, int]]:
    """Which node is which choice of the reference: both stand in the order of the run."""
    found = []
    start = 0
    for node, (scores, indices) in enumerate(seen):
        for at in range(start, len(choices)):
            choice = choices[at]
            if choice is not None and choice.looks_like(scores, indices):
                found.append((node, at))
                start = at + 1
                break
    return found


def _maps(outputs: Sequence[Array], choices: Sequence[Choice | None]) -> list[tuple[int, int]]:
    """Which output is which choice of the reference itself."""
    found: list[tuple[int, int]] = []
    for at, choice in enumerate(choices):
        for index, output in enumerate(outputs):
            if (
                choice is not None
                and output.dtype.kind in "iu"
                and output.size == choice.indices.size
                and (output.reshape(choice.indices.shape) == choice.indices).all()
            ):
                found.append((index, at))
                break
    return found


def candidates(scores: Array, truth: Array) -> tuple[Array, Array]:
    """Scores of an artefact and of the reference, with 0 for what both rule out."""
    if truth.dtype.kind != "f":
        return scores, truth
    wide = scores.astype(np.float64)
    out = (np.abs(truth) > _RULED_OUT) & (np.abs(wide) > _RULED_OUT_OF_FLOAT16)
    out &= np.sign(truth) == np.sign(wide)
    return np.where(out, 0.0, wide), np.where(out, 0.0, truth)

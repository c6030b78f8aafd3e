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
from edgerep.bench.parity.figures.tolerance import UNIT_ROUNDOFF
from edgerep.bench.parity.references.cuts import Cut
from edgerep.bench.parity.references.deciding import Told
from edgerep.bench.parity.references.decision import Decision
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.session import Session
from edgerep.errors import EdgerepError
from edgerep.export.graph.decisions import GraphDecision

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
            where the runtime does not show them, the nearest that explain the choice, or None.
        regrets: Of each: [N], 0 where the choice was a best one, by the artefact's own scores or,
            where these are not shown, by the reference's.
        otherwise: Of each: in how many rows the reference by itself chooses otherwise.
    """

    outputs: Sequence[Array]
    truth: Sequence[Array]
    before: tuple[tuple[Array, Array] | None, ...] = ()
    regrets: tuple[Array, ...] = ()
    otherwise: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Follower:
    """Runs an artefact, and asks the reference again where the artefact chose otherwise.

    Attributes:
        session: Gives the tensors of each of `nodes` behind the outputs.
        nodes: The decisions of the artefact's graph.
        unit: Half the distance of 1 to the next number, where the runtime computes with more
            digits than the tensors that it shows have; else 0.
        pairs: Of each choice that is followed: which of `nodes` it is, or which output where there
            are none, and which of the reference's choices. Found in the first batch.
        again: What the reference said again, by probe and choice.
    """

    session: Session
    nodes: tuple[GraphDecision, ...] = ()
    unit: float = 0.0
    pairs: list[tuple[int, int]] = field(default_factory=list)
    again: dict[tuple[int, bytes], Told] = field(default_factory=dict)

    def run(self, questions: Questions, answers: Answers, order: NDArray[np.int64]) -> Followed:
        """Run the probes `order` of a block as one batch."""
        found = self.session.run(*(array[order] for array in answers.inputs))
        truth = [output[order] for output in answers.truth.outputs]
        outputs = found[: len(found) - sum(len(node.tensors) for node in self.nodes)]
        if not any(answers.truth.choices) or [o.shape for o in outputs] != [t.shape for t in truth]:
            return Followed(outputs, truth)
        seen = _seen(self.nodes, found[len(outputs) :])
        if not self.pairs:
            likely = [
                one if one is not None and one.is_open else None for one in answers.truth.choices
            ]
            parts = [None if one is None else one.part(order) for one in likely]
            self.pairs.extend(
                _pairs(self.nodes, seen, parts)
                if self.nodes
                else _maps(answers.truth.outputs, likely)
            )
        known = [self._choice(answers, at).part(order) for _, at in self.pairs]
        if self.nodes:
            both = [self._shown(seen[node], node) for node, _ in self.pairs]
            scores, chosen = [one[0] for one in both], [one[1] for one in both]
            units = [self.unit if isinstance(one, Cut) else 0.0 for one in known]
        else:
            chosen = [
                choice.read(outputs[at]) for (at, _), choice in zip(self.pairs, known, strict=True)
            ]
            explained = [one.explained(made) for one, made in zip(known, chosen, strict=True)]
            scores = [
                choice.scores if one is None else one
                for one, choice in zip(explained, known, strict=True)
            ]
            units = [2.0**-24] * len(known)  # of another runtime's scores all digits may differ
        regrets = tuple(
            choice.regret(shown, decided, unit)
            for choice, shown, decided, unit in zip(known, scores, chosen, units, strict=True)
        )
        wanted = [choice.scores for choice in known]
        other = [
            (decided != choice.chosen).reshape(len(order), -1).any(1)
            for decided, choice in zip(chosen, known, strict=True)
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
            if not self.nodes:
                for guess, (_, at), decided in zip(scores, self.pairs, chosen, strict=True):
                    choice = told.choices[at]
                    one = None if choice is None else choice.explained(decided[row : row + 1])
                    guess[row] = guess[row] if one is None else one[0]
        return Followed(
            outputs,
            truth,
            tuple(
                candidates(shown, target) if self.nodes or isinstance(choice, Cut) else None
                for shown, target, choice in zip(scores, wanted, known, strict=True)
            ),
            regrets,
            tuple(int(one.sum()) for one in other),
        )

    def _shown(self, seen: tuple[Array, Array] | None, node: int) -> tuple[Array, Array]:
        if seen is None:  # the first batch had it
            raise EdgerepError(
                f"{self.nodes[node].node} gives another type than for a batch before"
            )
        return seen

    def _choice(self, answers: Answers, at: int) -> Decision:
        choice = answers.truth.choices[at]
        if choice is None:  # the first block had it
            raise EdgerepError(
                f"{answers.start}: the reference makes other choices than for the images before"
            )
        return choice

    def _told(
        self, questions: Questions, answers: Answers, probe: int, chosen: Sequence[Array]
    ) -> Told:
        key = (answers.start + probe, b"".join(one.tobytes() for one in chosen))
        if key not in self.again:
            forced: list[Array | None] = [None] * len(answers.truth.choices)
            for (_, at), decided in zip(self.pairs, chosen, strict=True):
                forced[at] = decided[None]
            self.again[key] = questions.again(
                [a[probe : probe + 1] for a in answers.inputs], forced
            )
        return self.again[key]

    def forget(self) -> None:
        """Drop what the reference said about the block of probes that is done with."""
        self.again.clear()


def open_follower(runnable: Runnable, *, follow: bool, emulated: bool = False) -> Follower:
    """A follower of an artefact; without choices to follow it only runs the artefact.

    Args:
        runnable: The artefact.
        follow: Whether the reference tells of choices of its own.
        emulated: Run its `emulator` in place of its runtime.

    Raises:
        EdgerepError: The runtime is missing, or refuses the file.
    """
    observer = runnable.emulator if emulated else runnable.observer
    if follow and observer is not None:
        nodes = tuple(runnable.choices())
        if nodes:
            names = [name for node in nodes for name in node.tensors]
            # ONNX Runtime widens float16 on a CPU; what it shows is rounded.
            widens = runnable.precision == "fp16" and not emulated
            return Follower(observer(names), nodes, UNIT_ROUNDOFF["fp16"] if widens else 0.0)
    return Follower(runnable.open() if not emulated or observer is None else observer(()))


def _seen(
    nodes: Sequence[GraphDecision], found: Sequence[Array]
) -> list[tuple[Array, Array] | None]:
    tensors = iter(found)
    return [node.seen([next(tensors) for _ in node.tensors]) for node in nodes]


def _pairs(
    nodes: Sequence[GraphDecision],
    seen: Sequence[tuple[Array, Array] | None],
    choices: Sequence[Decision | None],
) -> list[tuple[int, int]]:
    """Which node is which decision of the reference.

    Of those that it may be, the one whose scores are nearest; of equally near ones the first.
    """
    found: list[tuple[int, int]] = []
    for node, shown in enumerate(seen):
        taken = {at for _, at in found}
        likely = [
            (_distance(shown[0], choice.scores), at)
            for at, choice in enumerate(choices)
            if choice is not None
            and shown is not None
            and at not in taken
            and len(shown[1]) == len(choice.chosen)
            and choice.looks_like(nodes[node].kind, *shown)
        ]
        if likely:
            found.append((node, min(likely)[1]))
    return found


def _distance(scores: Array, truth: Array) -> float:
    with np.errstate(all="ignore"):
        off = np.abs(scores.astype(np.float64) - truth)
    return float(np.nan_to_num(off, posinf=0.0).mean()) if off.size else 0.0


def _maps(outputs: Sequence[Array], choices: Sequence[Decision | None]) -> list[tuple[int, int]]:
    """Which output is which decision of the reference itself; of several in a row the first."""
    found: dict[int, int] = {}
    for at, choice in enumerate(choices):
        for index, output in enumerate(outputs):
            if choice is not None and index not in found and choice.is_told_by(output):
                found[index] = at
                break
    return list(found.items())


def candidates(scores: Array, truth: Array) -> tuple[Array, Array]:
    """Scores of an artefact and of the reference, with 0 for what both rule out."""
    if truth.dtype.kind != "f":
        return scores, truth
    wide = scores.astype(np.float64)
    out = (np.abs(truth) > _RULED_OUT) & (np.abs(wide) > _RULED_OUT_OF_FLOAT16)
    out &= np.sign(truth) == np.sign(wide)
    return np.where(out, 0.0, wide), np.where(out, 0.0, truth)

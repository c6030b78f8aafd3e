"""A float16 file as a device computes it, beside what this machine's runtime makes of it.

ONNX Runtime on a CPU widens float16 layers to float32 and drops the casts between them, so that
what it shows of a float16 file is rounded weights, and numbers above 65504 pass on their way. So
the file is run once more, by a session that rounds every result.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgerep.bench.parity.answers import Answers, Questions, output_names
from edgerep.bench.parity.batch_plan import arrangements
from edgerep.bench.parity.findings import EmulatedParity
from edgerep.bench.parity.following import Followed, Follower, open_follower
from edgerep.bench.parity.references.onnx_accumulating import AccumulatingFile
from edgerep.bench.parity.tallies import ArtefactTally, OutputTally
from edgerep.bench.sessions.runnable import Runnable
from edgerep.errors import OnnxError

_ROWS = 4  # probes that are run with float16 accumulators, which take long
_MOST_PRODUCTS = 20e9  # of them all together: a few seconds


@dataclass(frozen=True, eq=False)
class EmulatedRun:
    """A file in emulation, and what was measured of it so far.

    Attributes:
        follower: Runs it; None where it cannot be emulated.
        why_not: Why it cannot be, where it has to be; else "".
        size: The batch size to run.
        tally: What was measured.
    """

    follower: Follower | None
    why_not: str = ""
    size: int = 1
    tally: ArtefactTally = field(default_factory=ArtefactTally)

    def look(
        self,
        questions: Questions,
        answers: Answers,
        outputs: Sequence[OutputTally],
        choices: Sequence[OutputTally | None],
    ) -> None:
        """Run a block of probes."""
        if self.follower is None:
            return
        for order in arrangements(len(answers), self.size, first=self.size):
            followed = self.follower.run(questions, answers, order)
            self.tally.add(self.size, followed, outputs, choices, self.follower.pairs)
            self.tally.note(self.follower.session.overflows, order + answers.start)
        self.follower.forget()


def emulated_run(runnable: Runnable, *, follow: bool) -> EmulatedRun:
    """What emulates an artefact; without a follower where nothing has to be or can be emulated.

    Args:
        runnable: The artefact.
        follow: Whether the reference tells of choices of its own.
    """
    if runnable.emulator is None:
        return EmulatedRun(None)
    try:
        follower = open_follower(runnable, follow=follow, emulated=True)
    except OnnxError as error:
        return EmulatedRun(None, str(error))
    return EmulatedRun(follower, "", runnable.batch.smallest)


def overflow_in_words(found: ArtefactTally, probes: int, *, widened: bool) -> str | None:
    """The first layer or sum that gives more than float16 holds, in one sentence; None if none.

    Args:
        found: What was measured.
        probes: On how many.
        widened: Whether the file's own runtime does not show it.
    """
    first = min((one for one in found.overflows.values() if one.sums), default=None,
                key=lambda one: one.at)  # fmt: skip
    if first is None:
        return None
    source = f", {first.source}" if first.source else ""
    though = ", though not in this runtime, which widens it" if widened else ""
    return (
        f"`{first.node}` ({first.operator}{source}) exceeds 65504, the largest number of float16: "
        f"it reaches {first.largest:.3g} and is infinite on a device that computes in float16"
        f"{though}; on {len(found.overflown)} of {probes} probes. Export it again from the network "
        f"or from the float32 file with --precision fp16, which rescales such layers or keeps them "
        f"in float32 (by hand: --keep-fp32 {shlex.quote(first.node)})"
    )


def accumulated(
    runnable: Runnable, answers: Answers, outputs: Sequence[OutputTally]
) -> EmulatedParity | None:
    """What float16 accumulators make of a float16 file, on a few probes; None where none could run.

    Args:
        runnable: The artefact.
        answers: A block of the reference's answers, which makes no choices.
        outputs: The bounds of its outputs.
    """
    if runnable.precision != "fp16" or runnable.path is None:
        return None
    size, tally = runnable.batch.smallest, ArtefactTally()
    try:
        file = AccumulatingFile(runnable.path)
        for order in arrangements(len(answers), size, first=size):
            found = file.run(*(array[order] for array in answers.inputs))
            truth = [output[order] for output in answers.truth.outputs]
            tally.add(size, Followed(found, truth), outputs, (), ())
            if file.products * (1 + size / tally.rows) > _MOST_PRODUCTS or tally.rows >= _ROWS:
                break
    except OnnxError:  # which says what could not be evaluated; nothing hangs on it
        return None
    names = output_names(runnable, len(outputs))
    judged = tuple(
        one.judged(name, runnable.precision, measured)
        for name, one, measured in zip(names, outputs, tally.outputs, strict=True)
    )
    return EmulatedParity("float16", file.how, False, min(tally.rows, len(answers)), judged)

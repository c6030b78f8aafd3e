"""Run artefacts beside each other on the same answers of a reference, and judge each.

Blocks of probes stream past: what is kept of them is what `measures` says of each probe.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from edgerep.bench.parity.answers import Answers, Questions, answered, output_names
from edgerep.bench.parity.batch_plan import BatchPlan, arrangements
from edgerep.bench.parity.causes import saying_that_it_is_open, saying_that_it_takes_pixels
from edgerep.bench.parity.emulation import EmulatedRun, accumulated, emulated_run, overflow_in_words
from edgerep.bench.parity.figures.tolerance import SIGMOID_ERROR
from edgerep.bench.parity.findings import ArtefactParity, EmulatedParity
from edgerep.bench.parity.following import Followed, Follower, candidates, open_follower
from edgerep.bench.parity.hanging import outputs_behind
from edgerep.bench.parity.output_findings import ChoiceParity, OutputParity
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.parity.tallies import ArtefactTally, OutputTally, tally_of
from edgerep.bench.sessions.runnable import Runnable
from edgerep.data.probes import Probes
from edgerep.errors import EdgerepError, NetworkError
from edgerep.export.graph.open_counts import counts_in_words
from edgerep.export.graph.sigmoid_values import sigmoid_values_in


def compare_together(
    reference: Reference | OnnxReference,
    runnables: Sequence[Runnable],
    probes: Probes,
    plans: Sequence[BatchPlan],
    watch: Callable[[str, int, int], None],
) -> list[ArtefactParity]:
    """Compare artefacts that take the same inputs, so that the reference runs once for all.

    Args:
        reference: With what they are compared.
        runnables: The artefacts; each can be run here.
        probes: On what.
        plans: The batch sizes of each artefact. Those that are no main size take one batch out of
            the first block of probes.
        watch: Told what is running, how many probes are done, and of how many.

    Raises:
        EdgerepError: The reference or a runtime fails, or the outputs are not the reference's.
    """
    questions = Questions(reference, runnables[0])
    blocks = answered(questions, probes, lambda done: watch("reference", done, len(probes)))
    with saying_that_it_takes_pixels(reference, runnables[0]):
        first = next(blocks)
    plans = [plan.own for plan in plans] if reference.mixes else plans
    _require_no_mixing(reference, runnables, plans)
    outputs = [tally_of(truth) for truth in first.truth.outputs]
    choices = [
        tally_of(one.scores) if one is not None and one.is_open else None
        for one in first.truth.choices
    ]
    with ExitStack() as stack:
        followers = [open_follower(r, follow=any(choices)) for r in runnables]
        for follower in followers:
            stack.enter_context(follower.session)
        emulations = [emulated_run(runnable, follow=any(choices)) for runnable in runnables]
        for emulation in emulations:
            if emulation.follower is not None:
                stack.enter_context(emulation.follower.session)
        tallies = [ArtefactTally() for _ in runnables]
        for answers in itertools.chain([first], blocks):
            _add_own(outputs, choices, answers)
            for at, follower in enumerate(followers):
                for size in plans[at].sizes:
                    once = size not in plans[at].main
                    if answers.start and once:
                        continue
                    for order in arrangements(len(answers), size, first=size, once=once):
                        with saying_that_it_is_open(runnables[at], size, plans[at]):
                            followed = follower.run(questions, answers, order)
                            _require_shapes(runnables[at], followed, size)
                        tallies[at].add(size, followed, outputs, choices, follower.pairs)
                        tallies[at].note(follower.session.overflows, order + answers.start)
                    done = answers.start + len(answers)
                    watch(runnables[at].title, done, len(probes))
                follower.forget()
                emulations[at].look(questions, answers, outputs, choices)
        return [
            _result(
                runnables[at],
                followers[at],
                emulations[at],
                probes,
                outputs,
                choices,
                tallies[at],
                None if any(choices) else first,
                lambda unfollowed: outputs_behind(questions, first, unfollowed),
            )
            for at in range(len(runnables))
        ]


def _add_own(
    outputs: Sequence[OutputTally], choices: Sequence[OutputTally | None], answers: Answers
) -> None:
    """Add how far the reference in float32 is from itself, with the same choices made in both."""
    truth, narrow = answers.truth, answers.own_float32
    for tally, wanted, found in zip(outputs, truth.outputs, narrow.outputs, strict=True):
        tally.add_own(found, wanted)
    for scores, choice, own in zip(choices, truth.choices, narrow.choices, strict=False):
        if scores is not None and choice is not None and own is not None:
            scores.add_own(*candidates(own.scores, choice.scores))
            scores.margins.append(choice.margin())


def _require_no_mixing(
    reference: Reference | OnnxReference, runnables: Sequence[Runnable], plans: Sequence[BatchPlan]
) -> None:
    """Refuse batches of several samples where a sample's answer depends on the others."""
    for runnable, plan in zip(runnables, plans, strict=True):
        if reference.mixes and max(plan.sizes) > 1:
            raise NetworkError(f"{runnable.title} cannot be compared: {reference.mixes}")


def _require_shapes(runnable: Runnable, followed: Followed, size: int) -> None:
    found = [list(output.shape[1:]) for output in followed.outputs]
    wanted = [list(output.shape[1:]) for output in followed.truth]
    if found != wanted:
        why = counts_in_words(runnable.path) if runnable.kind == "onnx" and runnable.path else ""
        raise EdgerepError(
            f"{runnable.title} gives outputs {', '.join(map(str, found))} and the reference "
            f"{', '.join(map(str, wanted))}: {why or 'it was not made from this network'}"
        )
    if wrong := [output.shape for output in followed.outputs if len(output) != size]:
        raise EdgerepError(
            f"{runnable.title} gives for a batch of {size} outputs without the batch first: {wrong}"
        )


def _kernel_errors(runnable: Runnable) -> dict[str, float]:
    """By a tensor of an artefact, how far a kernel of its runtime is off in the least of cases."""
    if runnable.kind != "onnx" or runnable.path is None:
        return {}
    return dict.fromkeys(sigmoid_values_in(runnable.path), SIGMOID_ERROR)


def _result(
    runnable: Runnable,
    follower: Follower,
    emulation: EmulatedRun,
    probes: Probes,
    outputs: Sequence[OutputTally],
    choices: Sequence[OutputTally | None],
    found: ArtefactTally,
    plain: Answers | None,
    hanging: Callable[[Sequence[int]], tuple[int, ...]],
) -> ArtefactParity:
    names = output_names(runnable, len(outputs))
    known = {at for _, at in follower.pairs}
    unfollowed = tuple(
        at
        for at, tally in enumerate(choices)
        if tally is not None and at not in known and tally.may_fall_otherwise(runnable.precision)
    )
    judged, followed = _judged(runnable, follower, outputs, choices, found)
    emulated: tuple[EmulatedParity, ...] = ()
    how = follower.session.how
    overflow = overflow_in_words(found, len(probes), widened=False)
    if runnable.emulator is not None:
        how += f"; {runnable.precision} widened to float32, so that only the weights are rounded"
    if emulation.follower is not None:
        own = _judged(runnable, emulation.follower, outputs, choices, emulation.tally)
        how_emulated = emulation.follower.session.how
        emulated = (EmulatedParity("float32", how_emulated, True, len(probes), *own),)
        overflow = overflow_in_words(emulation.tally, len(probes), widened=True)
        if plain is not None and (more := accumulated(runnable, plain, outputs)) is not None:
            emulated = (*emulated, more)
    return ArtefactParity.of(
        judged,
        path=runnable.title,
        runtime=follower.session.runtime,
        precision=runnable.precision,
        how=how,
        probes=probes.describe(),
        images_given=probes.given,
        choices=followed,
        overflow=overflow,
        emulated=emulated,
        not_emulated=emulation.why_not or None,
        choices_unfollowed=len(unfollowed),
        unfollowed_outputs=tuple(names[index] for index in hanging(unfollowed)),
    )


def _judged(
    runnable: Runnable,
    follower: Follower,
    outputs: Sequence[OutputTally],
    choices: Sequence[OutputTally | None],
    found: ArtefactTally,
) -> tuple[tuple[OutputParity, ...], tuple[ChoiceParity, ...]]:
    """The outputs of an artefact, and the choices that were followed."""
    names = output_names(runnable, len(outputs))
    errors = _kernel_errors(runnable)
    followed = []
    for index, (source, at) in enumerate(follower.pairs):
        tally = choices[at]
        assert tally is not None  # pairs hold only choices that have one
        rows, otherwise, regret = found.rows, found.otherwise[index], found.regret[index]
        if follower.nodes:
            node = follower.nodes[source]
            least = max(errors.get(tensor, 0.0) for tensor in node.tensors)
            before = tally.judged(node.scores, runnable.precision, found.before[index], least)
            name = f"{node.node} by {node.scores}"
            followed.append(ChoiceParity(name, before, rows, otherwise, regret, allowed=0.0))
        elif found.before[index]:
            name = f"the decision in {names[source]}, by the nearest numbers that explain it"
            before = tally.judged(name, runnable.precision, found.before[index])
            followed.append(ChoiceParity(name, before, rows, otherwise, regret, allowed=0.0))
        else:
            # Both candidates may be off, each by as much as any one number may be.
            allowed = 2 * tally.bounds(runnable.precision).max_abs
            name = f"the choice in {names[source]}"
            followed.append(ChoiceParity(name, None, rows, otherwise, regret, allowed))
    return tuple(
        tally.judged(name, runnable.precision, measured, errors.get(name, 0.0))
        for name, tally, measured in zip(names, outputs, found.outputs, strict=True)
    ), tuple(followed)

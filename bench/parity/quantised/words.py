"""What a comparison of an int8 artefact found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from edgerep.bench.parity.findings import ArtefactParity, QuantisedParity
from edgerep.bench.parity.int8_findings import LayerParity, StepParity
from edgerep.bench.parity.output_findings import OutputParity

_MOST = 4  # quantisers or layers that a message names


def notes_in_words(artefact: ArtefactParity) -> list[str]:
    """What is to be known of an int8 artefact beside its figures."""
    found = artefact.quantised
    if found is None:
        return []
    notes = []
    if found.requirement and artefact.tolerance is not None:
        notes.append(_asked(artefact, found))
    if found.why_not:
        word = "is not" if not found.is_that_graph else "was not compared with"
        notes.append(f"it {word} the graph that it was made from: {found.why_not}")
    elif found.steps:
        worst = max(found.steps, key=_share)
        notes.append(
            f"beside {found.graph} in float64, with the integers that it computed itself: "
            f"{_verdict(found)}; of {sum(step.integers for step in found.steps):,} integers in "
            f"{len(found.steps)} places {_furthest(worst)}"
        )
    elif found.outputs:
        notes.append(f"{_freely(found)}, for its runtime shows none of its integers")
    if wide := [step for step in found.steps if step.passed and step.is_wide]:
        notes.append(_wide(wide))
    if found.layers:
        worst_gain = max(found.layers, key=lambda one: abs(one.gain - 1) / one.gain_allowed)
        notes.append(
            f"weights of {len(found.layers)} layers beside the float network's: "
            f"{'agree' if all(one.passed for one in found.layers) else 'DISAGREE'}; the furthest "
            f"channel is {worst_gain.gain_channel} of {worst_gain.name}, {worst_gain.gain:.4f} "
            f"times what it was (within {worst_gain.gain_allowed:.1%} allowed)"
        )
    return notes


def failures_in_words(artefact: ArtefactParity) -> Iterator[str]:
    """Every way in which an int8 artefact is not what it should be."""
    found = artefact.quantised
    if found is None:
        return
    for pair in found.odd_pairs[:_MOST]:
        yield f"{artefact.path}, {pair}"
    if not found.is_that_graph:
        yield f"{artefact.path} is not {found.graph}, which it should be: {found.why_not}"
    for output in found.outputs:
        if not output.passed:
            yield f"{artefact.path}, {output.name}: {_off(output, found)}"
    bad_steps = [step for step in found.steps if not step.passed]
    for step in bad_steps[:_MOST]:
        yield f"{artefact.path}, {step_in_words(step)}"
    bad_layers = [layer for layer in found.layers if not layer.passed]
    for layer in bad_layers[:_MOST]:
        yield f"{artefact.path}, {layer_in_words(layer)}"
    more = max(0, len(bad_steps) - _MOST) + max(0, len(bad_layers) - _MOST)
    if more:
        yield f"{artefact.path}: and {more} more quantisers or layers"


def step_in_words(step: StepParity) -> str:
    if step.beyond <= step.allowed:
        return (
            f"{step.name}: its range is not that of your images: {step.clipped:.0%} of their "
            f"numbers are beyond it, and the largest takes {step.used:.0%} of it"
        )
    return (
        f"{step.name}: what reaches it is {step.beyond:.2g} steps beyond half a step from its "
        f"integer ({step.allowed:.1e} allowed): a scale, a zero point or weights before it are not "
        f"those of the graph"
    )


def layer_in_words(layer: LayerParity) -> str:
    if layer.steps > layer.allowed:
        return (
            f"layer {layer.name}, channel {layer.channel}: its weights are {layer.steps:.1f} "
            f"steps (root mean square) from the float network's ({layer.allowed:g} allowed)"
        )
    return (
        f"layer {layer.name}, channel {layer.gain_channel}: {layer.gain:.4f} times what the float "
        f"network has, which no layer behind it takes back ({layer.gain_allowed:.1%} allowed): its "
        f"scale is wrong, or where all channels are off alike, that of a layer before it"
    )


def _wide(steps: list[StepParity]) -> str:
    """Ranges that are right as far as any bound tells, and cost accuracy if they are not meant."""
    named = ", ".join(
        f"{step.name} ({step.used:.0%})" for step in sorted(steps, key=lambda s: s.used)[:_MOST]
    )
    more = f" and {len(steps) - _MOST} more" if len(steps) > _MOST else ""
    return (
        f"your images take less than half of the range of {named}{more}: unless a range is shared "
        f"with another tensor, or the images differ from those of calibration, its scale is too "
        f"large, and at least one bit is lost"
    )


def _furthest(step: StepParity) -> str:
    if step.beyond <= 0:
        return "each is the nearest to the number that it stands for"
    return (
        f"none is further than {step.beyond:.1e} steps beyond half a step from the number that it "
        f"stands for ({step.name}; {step.allowed:.1e} allowed)"
    )


def _share(step: StepParity) -> float:
    return step.beyond / step.allowed


def _verdict(found: QuantisedParity) -> str:
    exact = all(one.passed for one in found.outputs) and all(one.passed for one in found.steps)
    return "agrees" if exact else "DISAGREES"


def _freely(found: QuantisedParity) -> str:
    """How far an artefact that shows no integers is from its graph."""
    worst = min(
        (batch.difference.sqnr_db, output.tolerance.least_sqnr_db or 0.0)
        for output in found.outputs
        for batch in output.batches
    )
    return f"beside {found.graph} in float64 {worst[0]:.1f} dB, of {worst[1]:.0f} asked for"


def _asked(artefact: ArtefactParity, found: QuantisedParity) -> str:
    bounds = artefact.tolerance
    assert bounds is not None  # the caller has looked
    least = bounds.least_sqnr_db
    agreement = (
        f" and {bounds.least_agreement:.1%} of largest answers" if bounds.least_agreement else ""
    )
    on = "your images" if artefact.images_given else "pictures made here"
    if least is None:
        return f"beside the float network on {on}: its outputs are whole numbers"
    return (
        f"beside the float network on {on}: at least {least:.1f} dB{agreement} is asked for "
        f"({found.requirement})"
    )


def _off(output: OutputParity, found: QuantisedParity) -> str:
    if output.tolerance.least_sqnr_db is not None:
        return _freely(found)
    worst = max(output.batches, key=lambda one: one.difference.rel_l2)
    return (
        f"beside {found.graph} in float64, with the integers that it computed itself: relative L2 "
        f"{worst.difference.rel_l2:.2e} (bound {output.tolerance.rel_l2:.2e}), max abs "
        f"{worst.difference.max_abs:.2e} (bound {output.tolerance.max_abs:.2e})"
    )

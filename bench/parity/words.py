"""What a comparison found, in sentences; the JSON carries them to every reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgerep.artefacts.batches import numbers_in_words
from edgerep.bench.parity.figures.tolerance import Tolerance
from edgerep.bench.parity.findings import ArtefactParity, EmulatedParity
from edgerep.bench.parity.output_findings import BandParity, ChoiceParity
from edgerep.bench.parity.quantised.words import failures_in_words, notes_in_words


def notes_of(artefact: ArtefactParity) -> list[str]:
    """What is to be known of the figures of an artefact: images, overflow, choices and bands."""
    notes = []
    if artefact.images_given:
        notes.append(images_in_words(artefact))
    if artefact.overflow is not None:
        notes.append(artefact.overflow)
    notes += [emulated_in_words(one) for one in artefact.emulated]
    if artefact.not_emulated is not None:
        notes.append(
            f"{artefact.precision} could not be emulated, so that only its rounded weights were "
            f"compared: {artefact.not_emulated}"
        )
    notes += notes_in_words(artefact)
    notes += _choice_notes(artefact)
    notes += [
        f"{output.name}, {_band_note(band)}" for output in artefact.outputs for band in output.bands
    ]
    if artefact.tolerance is not None and not artefact.tolerance.decidable:
        notes.append(undecidable(artefact.tolerance))
    return notes


def images_in_words(result: ArtefactParity) -> str:
    """How many of the user's own images were compared, and of how many; "" if none were given."""
    if not result.images_given:
        return ""
    capped = result.images_compared < result.images_given
    return f"{result.images_compared} of {result.images_given} images" + (
        " (the rest is beyond --max-images)" if capped else ""
    )


def as_exported_in_words(difference: str | None) -> str:
    """That the reference is the network as exported, and how that differs; else empty."""
    if difference is None:
        return ""
    return (
        f" as it is exported, which its code asks for (torch.onnx.is_in_onnx_export() or "
        f"torch.compiler.is_exporting()); called as it is, it answers otherwise: as exported, "
        f"{difference}"
    )


def emulated_in_words(emulated: EmulatedParity) -> str:
    """What emulation says of a file, in one sentence."""
    worst = emulated.worst
    batch = max(worst.batches, key=lambda one: one.difference.rel_l2)
    verdict = "agrees" if emulated.passed else "DISAGREES"
    if not emulated.decides:
        verdict = f"{'would agree' if emulated.passed else 'would DISAGREE'} (for information)"
    return (
        f"emulated with {emulated.accumulators} accumulators: {verdict}, relative L2 "
        f"{batch.difference.rel_l2:.1e} of {worst.tolerance.rel_l2:.1e} allowed, top-1 "
        f"{batch.difference.top1_agreement:.1%}, on {emulated.probes} probes: {emulated.how}"
    )


def failures_of(artefact: ArtefactParity) -> Iterator[str]:
    """Every bound that an artefact broke, and every other reason why it has not passed."""
    if artefact.tolerance is None:
        yield f"{artefact.path}: not run: {artefact.why_not}"
        return
    bounds = artefact.tolerance
    if not bounds.decidable:
        yield f"{artefact.path}: {undecidable(bounds)}"
        return
    if artefact.overflow is not None:
        yield f"{artefact.path}: {artefact.overflow}"
    for choice in artefact.choices:
        if choice.regret > choice.allowed:
            yield f"{artefact.path}, {choice.name}: {regret_in_words(choice)}"
    yield from failures_in_words(artefact)
    emulated = [one for one in artefact.emulated if one.decides and not one.passed]
    yield from (f"{artefact.path}: {emulated_in_words(one)}" for one in emulated)
    before = [choice.before for choice in artefact.choices if choice.before is not None]
    for output in (*artefact.outputs, *before):
        name = f", {output.name}" if len(artefact.outputs) + len(before) > 1 else ""
        for batch in output.batches:
            if not batch.passed:
                found, bounds = batch.difference, output.tolerance
                if (least := bounds.least_sqnr_db) is not None:
                    yield (
                        f"{artefact.path}{name}, batch {batch.batch}: {found.sqnr_db:.1f} dB "
                        f"beside the reference ({least:.1f} asked for), "
                        f"{found.top1_agreement:.1%} of largest answers alike "
                        f"({bounds.least_agreement:.1%})"
                    )
                    continue
                yield (
                    f"{artefact.path}{name}, batch {batch.batch}: relative L2 {found.rel_l2:.2e} "
                    f"(bound {bounds.rel_l2:.2e}), max abs {found.max_abs:.2e} "
                    f"(bound {bounds.max_abs:.2e})"
                )
        for band in output.bands:
            if not band.passed:
                yield (
                    f"{artefact.path}{name}, {band_in_words(band)}: relative L2 {band.rel_l2:.2e} "
                    f"(bound {band.tolerance.rel_l2:.2e}), max abs {band.max_abs:.2e} "
                    f"(bound {band.tolerance.max_abs:.2e})"
                )


def undecidable(tolerance: Tolerance) -> str:
    """Why no comparison from end to end says anything about a network, in one sentence."""
    if not np.isfinite(tolerance.amplification):
        return (
            "the network's own float32 run gives infinities or NaN in other places than its "
            "float64 run, as where it takes the logarithm of numbers near zero or divides by them: "
            "so no end-to-end comparison says anything. Let it add an epsilon there, or clamp"
        )
    return (
        f"the network multiplies rounding errors {tolerance.amplification:.0f} times, so no "
        f"end-to-end comparison in {tolerance.precision} says anything; where it was fused, the "
        f"certificate of the fusion checks it layer by layer"
    )


def regret_in_words(choice: ChoiceParity) -> str:
    """How much better a choice could have been."""
    whose = "its own" if choice.before is not None else "the reference's"
    return (
        f"by {whose} scores it could have chosen better by {choice.regret:.1e} "
        f"({choice.allowed:.1e} allowed)"
    )


def band_in_words(band: BandParity) -> str:
    """Which part of its output a band is."""
    return f"{numbers_in_words(band.members)} of axis {band.axis} (scale {band.scale:.1e})"


def _band_note(band: BandParity) -> str:
    limit = band.tolerance
    verdict = "agrees" if band.passed else "DISAGREES"
    if not limit.decidable:
        verdict += f", but rounding alone may be {limit.rel_l2:.0%} of it"
    return (
        f"{band_in_words(band)}: {verdict}, max abs {band.max_abs:.1e} of {limit.max_abs:.1e} "
        f"allowed"
    )


def _choice_notes(result: ArtefactParity) -> Iterator[str]:
    for choice in result.choices:
        verdict = "agrees" if choice.passed else "DISAGREES"
        how = "by its margin" if choice.before is None else "before the choice"
        yield (
            f"{choice.name}: {verdict}, compared {how}, and behind it with the artefact's choice "
            f"made in the reference, which by itself chooses otherwise in {choice.otherwise} of "
            f"{choice.rows} answers; {regret_in_words(choice)}"
        )
    if result.choices_unfollowed:
        hanging = ", ".join(result.unfollowed_outputs[:12]) or "no output"
        yield (
            f"{result.choices_unfollowed} choice(s) of the network are not shown by this runtime, "
            f"and {hanging} hang(s) on them: where candidates tie, or numbers lie at their "
            f"threshold, these may differ between honest runtimes"
        )

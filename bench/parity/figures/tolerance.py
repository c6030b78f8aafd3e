"""How far one set of outputs is from another, and how far it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.figures.measures import Measures, measure

# Rounding to nearest in each format: half the distance from 1 to the next number.
UNIT_ROUNDOFF: Mapping[str, float] = {"fp32": 2.0**-24, "fp16": 2.0**-11, "bf16": 2.0**-8}
# A runtime sums in another order, with other kernels, than the reference did in float32. Measured
# is the error of honest runs over amplification times roundoff, for the fused digits network
# (docs/demo), a small random grouped network with squeeze-and-excitation, RepVGG-A0 at 64 and 224
# pixels, RepVGG-B1g4 and RepVGG-D2se at 64 pixels. float32: at most 1.4 in ONNX Runtime (optimised
# or not, 1 and 2 threads) and the Core ML reference interpreter, 2.1 in torch (eager, channels
# last, without oneDNN). float16: at most 0.57 in ONNX Runtime, the interpreter and torch, 0.42 in
# emulation, and 1.1 where accumulators are rounded to float16 after every 16 products, as a GPU may
# do (six networks, `tests/speed/float16_margins.py`). bfloat16, emulated: at most 0.20 (RepVGG-A0
# and B1g4, MobileOne-S0 at 64 pixels). No GPU and no Apple device took part.
SAFETY: Mapping[str, float] = {"fp32": 8.0, "fp16": 2.0, "bf16": 2.0}
# No network is so well conditioned that a runtime could keep to less than this many roundoffs;
# float32 has kernels (Winograd's) that round more than the plain sum that the anchor comes from.
LEAST_AMPLIFICATION: Mapping[str, float] = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0}
# An error above this share of the output is wrong whatever the network does to rounding errors.
LARGEST_TOLERANCE: Mapping[str, float] = {"fp32": 1e-3, "fp16": 5e-2, "bf16": 0.25}
# Half the distance of the smallest numbers: no rounding is finer, however small the number.
_LEAST_ERROR: Mapping[str, float] = {"fp32": 2.0**-150, "fp16": 2.0**-25, "bf16": 2.0**-134}
# The smallest normal number of float32, below which its kernels may give zero: such as scores of a
# sigmoid that is far from where it turns. Nothing that float32 loses is asked of an artefact.
_FLUSHED = 2.0**-126
# ONNX Runtime's Sigmoid on a CPU is 0.5 plus a rational function, so that a score of 1e-5 is as far
# off as one of 0.5: at most 1.7e-7 over -30..30 (1.32.0). Times `SAFETY` this is 2.4e-7.
SIGMOID_ERROR = 2.0**-25
# How many times their root mean square the largest of thousands of errors may be.
PEAK_OVER_RMS = 8.0
# A probe whose output is nearly zero is measured against this share of the median norm.
_LEAST_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a comparison in one precision must keep to.

    Attributes:
        precision: "fp32", "fp16" or "bf16".
        rel_l2: Largest relative L2 error that any one probe may have.
        max_abs: Largest absolute error that any one number may have.
        amplification: The reference's own float32 error in unit roundoffs: how many times the
            network multiplies rounding errors. It anchors both bounds.
        least_sqnr_db: Of int8, whose error rounding does not bound: the least signal to noise over
            all probes, in place of the two bounds, which are infinite then. Else None.
        least_agreement: Of int8: the least share of probes with the same largest number.
        decidable: False where the network multiplies them so much (a chaotic network) that no
            end-to-end comparison in this precision says anything.
    """

    precision: str
    rel_l2: float
    max_abs: float
    amplification: float
    decidable: bool
    least_sqnr_db: float | None = None
    least_agreement: float = 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one output, [N, ...] for N probes, is from that of the reference.

    Attributes:
        max_abs: Largest absolute difference of any one number.
        rel_l2: Relative L2 difference of the worst probe.
        sqnr_db: Signal to error ratio over all probes, in decibels; infinite if equal.
        cosine: Cosine similarity of the worst probe.
        top1_agreement: Share of probes whose largest number stands at the same place, 0 to 1.
    """

    max_abs: float
    rel_l2: float
    sqnr_db: float
    cosine: float
    top1_agreement: float

    def within(self, tolerance: Tolerance) -> bool:
        """Whether both bounds hold; never for NaN, never where nothing can be decided."""
        return tolerance.decidable and self.keeps_to(tolerance)

    def keeps_to(self, tolerance: Tolerance) -> bool:
        """Whether all bounds hold, whatever they say; never for NaN."""
        if tolerance.least_sqnr_db is not None:
            agrees = self.top1_agreement >= tolerance.least_agreement
            return agrees and self.sqnr_db >= tolerance.least_sqnr_db
        return self.rel_l2 <= tolerance.rel_l2 and self.max_abs <= tolerance.max_abs


def compare(outputs: Array, truth: NDArray[np.float64]) -> Difference:
    """Measure one output against the truth, probe by probe, in float64.

    Args:
        outputs: [N, ...].
        truth: [N, ...]. A probe whose truth is nearly zero is measured against a tenth of the
            median norm instead of its own.

    Raises:
        ValueError: The shapes differ.
    """
    return difference_of(measure(outputs, truth))


def difference_of(measures: Measures) -> Difference:
    """The difference that was measured, of all bands together."""
    whole = measures.whole()
    error, signal, value, product, peak = (
        column[:, 0]
        for column in (whole.error, whole.signal, whole.value, whole.product, whole.peak)
    )
    with np.errstate(all="ignore"):  # infinities and NaN flow into the result, where they fail
        lengths = np.sqrt(signal) * np.sqrt(value)
        cosine = np.where(lengths > 0, product / np.where(lengths > 0, lengths, 1),
                          np.where(peak == 0, 1.0, 0.0))  # fmt: skip
        noise = float(error.sum())
        sqnr = 10 * np.log10(float(signal.sum()) / noise) if noise else np.inf
        return Difference(
            max_abs=float(peak.max()),
            rel_l2=float(_relative(error, signal).max()),
            sqnr_db=float(sqnr),
            cosine=float(cosine.min()),
            top1_agreement=float(whole.agrees.mean()),
        )


def _relative(error: NDArray[np.float64], signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative L2 errors of probes, from the squares of their errors and of their truth."""
    scale = _scales(signal)
    result: NDArray[np.float64] = np.sqrt(error) / np.where(scale > 0, scale, 1)
    return result


def _scales(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the error of each probe is measured against, from the squares of its truth."""
    norms = np.sqrt(signal)
    result: NDArray[np.float64] = np.maximum(norms, _LEAST_SCALE * np.median(norms))
    return result


def tolerance_for(
    precision: str, truth: NDArray[np.float64], own_float32: Difference | None
) -> Tolerance:
    """The bounds for a precision, anchored to the reference network's own float32 error.

    A network that turns float32 roundoff into an error `e` turns the roundoff of another format
    into about `e` times the ratio of the two; a fixed tolerance would pass faults in a tame
    network and fail honest runs of a wild one.

    Args:
        precision: A key of `UNIT_ROUNDOFF`.
        truth: One output of the reference in float64, [N, ...]; the probe with the largest root
            mean square gives the scale of `max_abs`.
        own_float32: The reference in float32 against itself in float64. None where that is not
            known: then the bounds are the closest, those of the best conditioned network.
    """
    rows = truth.reshape(len(truth), -1)
    squares: NDArray[np.float64] = (rows**2).sum(1)
    own = (own_float32.rel_l2, own_float32.max_abs) if own_float32 else (0.0, 0.0)
    return _bounds(precision, squares, rows.shape[1], *own)


def tolerance_from(
    precision: str, own_float32: Measures, count: int, least_error: float = 0.0
) -> Tolerance:
    """The bounds for all bands together, or for the only one.

    Args:
        precision: A key of `UNIT_ROUNDOFF`.
        own_float32: The reference in float32 against itself in float64.
        count: How many numbers a probe has.
        least_error: Of the runtime's own kernel, in each number, however small the number is.
    """
    whole = own_float32.whole()
    error, signal = whole.error[:, 0], whole.signal[:, 0]
    rounded = np.maximum(np.sqrt(error) - _FLUSHED * count**0.5, 0.0)  # not only flushed
    own = float(_relative(rounded**2, signal).max(initial=0.0))
    bounds = _bounds(precision, signal, count, own, float(whole.peak.max(initial=0.0)))
    smallest = float(_scales(signal).min(initial=np.inf))
    if not smallest:
        return bounds
    least = SAFETY[precision] * max(least_error, _FLUSHED)
    relative = bounds.rel_l2 + least * count**0.5 / smallest
    return replace(bounds, rel_l2=relative, max_abs=max(bounds.max_abs, least))


def _bounds(
    precision: str, signal: NDArray[np.float64], count: int, own_rel_l2: float, own_max_abs: float
) -> Tolerance:
    unit = UNIT_ROUNDOFF[precision]
    own = own_rel_l2 / UNIT_ROUNDOFF["fp32"]
    amplification = max(LEAST_AMPLIFICATION[precision], own) if np.isfinite(own) else np.inf
    wanted = SAFETY[precision] * amplification * unit
    decidable = bool(wanted <= LARGEST_TOLERANCE[precision])
    relative = min(wanted, LARGEST_TOLERANCE[precision])
    rms = float(np.sqrt(signal.max() / count)) if count else 0.0
    # Errors may stand in few numbers: then the network's own largest error says how large.
    peak = relative * rms * PEAK_OVER_RMS
    if decidable:
        peak = max(peak, SAFETY[precision] * own_max_abs * unit / UNIT_ROUNDOFF["fp32"])
    return Tolerance(precision, relative, peak, amplification, decidable)


def band_tolerance(
    precision: str, own_float32: Measures, count: int, least: float, least_error: float = 0.0
) -> Tolerance:
    """The bounds for one band of an output beside others, anchored to its own float32 error.

    A band that rounding alone changes by more than `LARGEST_TOLERANCE` of its scale is marked as
    not decidable, and still held to that: a channel that hardly ever fires says nothing about the
    rest of its output. A band of zeros is held by its largest error alone.

    Args:
        precision: A key of `UNIT_ROUNDOFF`.
        own_float32: Of this band: the reference in float32 against itself in float64.
        count: How many numbers of a probe lie in the band.
        least: The root mean square of the smallest band that has any: the scale of zeros.
        least_error: Of the runtime's own kernel, in each number, however small the number is.
    """
    own = difference_of(own_float32)
    unit = UNIT_ROUNDOFF[precision]
    safety = SAFETY[precision]
    signal = own_float32.whole().signal[:, 0]
    rms = float(np.sqrt(signal.max() / count))
    least_error = max(least_error, _LEAST_ERROR[precision])
    peak = safety * max(own.max_abs * unit / UNIT_ROUNDOFF["fp32"], least_error)
    if not rms:
        zeros = safety * LEAST_AMPLIFICATION[precision] * unit * least
        return Tolerance(precision, np.inf, max(peak, zeros), 0.0, decidable=True)
    amplification = max(LEAST_AMPLIFICATION[precision], own.rel_l2 / UNIT_ROUNDOFF["fp32"])
    smallest = float(_scales(signal).min()) or rms
    relative = safety * (amplification * unit + least_error * count**0.5 / smallest)
    decidable = bool(relative <= LARGEST_TOLERANCE[precision])
    peak = max(peak, relative * rms * PEAK_OVER_RMS)
    return Tolerance(precision, relative, peak, amplification, decidable)


def exact(precision: str) -> Tolerance:
    """The bounds for integers, which rounding leaves alone or makes wrong."""
    return Tolerance(precision, rel_l2=0.0, max_abs=0.0, amplification=0.0, decidable=True)

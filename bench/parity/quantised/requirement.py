"""How like the float network an int8 artefact has to be: as it was when it was made, or a floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What other images than the held-out ones may cost, and another runtime's rounding: ONNX Runtime,
# which rounds biases to int32, and the same graph computed node by node are 39 dB apart on the
# digits network, whose int8 graph is 35 dB from float.
MARGIN_DB = 6.0
MARGIN_AGREEMENT = 0.05
# What two runtimes that round biases differently agree to on the digits network, and the margin: a
# set of images that hardly differ can give far more on held-out ones, which no runtime can repeat.
_MOST_DB = 45.0
# Nothing is known of how a file without a record was made: these are what a network has that still
# works; what is wrong with one channel, the comparison layer by layer finds.
_FLOOR_DB, _FLOOR_AGREEMENT = 10.0, 0.8
# Of probes that are no images of the network's kind: noise exceeds what its ranges were made for.
_FLOOR_PROBES_DB = 1.0
LEAST_IMAGES = 16  # from which on a share of answers means something


@dataclass(frozen=True, slots=True)
class Requirement:
    """What is asked of an int8 artefact beside its float network.

    Attributes:
        sqnr_db: The least signal to noise, over all that is compared.
        agreement: The least share of images whose largest answer is the same; 0 asks nothing.
        source: Where both come from, in words.
    """

    sqnr_db: float
    agreement: float
    source: str


def requirement(noted: Mapping[str, Any], images: int) -> Requirement:
    """What is asked of an artefact.

    Args:
        noted: What its graph notes of how it was made.
        images: How many images of the user's own are compared.
    """
    if not images:
        return Requirement(_FLOOR_PROBES_DB, 0.0, "a floor for probes that are no images")
    likeness = _likeness(noted.get("int8") or noted.get("fp8"))
    if likeness is not None:
        sqnr, agreement = likeness
        capped = f", of which {_MOST_DB:g} count" if sqnr > _MOST_DB else ""
        return Requirement(
            min(sqnr, _MOST_DB) - MARGIN_DB,
            agreement - MARGIN_AGREEMENT if agreement and images >= LEAST_IMAGES else 0.0,
            f"{sqnr:.1f} dB on held-out images when it was made{capped}, less {MARGIN_DB:g} dB",
        )
    made_blind = noted.get("int8-weights") is not None
    return Requirement(
        _FLOOR_DB,
        _FLOOR_AGREEMENT if images >= LEAST_IMAGES else 0.0,
        "a floor: its weights were rounded without images"
        if made_blind
        else "a floor: it has no record",
    )


def _likeness(noted: Any) -> tuple[float, float] | None:
    """The signal to noise of the worst part, and the agreement, that a graph notes of itself."""
    if not isinstance(noted, Mapping):
        return None
    for one in noted.get("candidates") or ():
        if isinstance(one, Mapping) and one.get("name") == noted.get("chosen"):
            sqnr, agreement = one.get("worst_db"), one.get("agreement")
            if isinstance(sqnr, int | float):
                return float(sqnr), float(agreement) if isinstance(agreement, int | float) else 0.0
    return None

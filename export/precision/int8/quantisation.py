"""A graph in eight bits on a user's images: the recipe, and what is noted of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from edgerep.artefacts.batches import BatchProfile
from edgerep.export.precision.int8.budget import Budget
from edgerep.export.precision.int8.recipe import Recipe, quantise
from edgerep.export.precision.settings import PrecisionSettings


def quantised(
    model: onnx.ModelProto, settings: PrecisionSettings, batch: BatchProfile
) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
    """A float32 graph with Q/DQ pairs, and the JSON of what was found.

    Args:
        model: Its preprocessing included.
        settings: Its calibration images among them.
        batch: The sizes that the graph takes.

    Raises:
        DataError: There are too few images.
        OnnxError: ONNX Runtime cannot run the graph.
        OptionError: A layer that is to be kept is none.
        ParityError: The budget cannot be kept.
    """
    fixed = batch.smallest if batch.is_static else None
    made, findings = quantise(
        model,
        settings.calibration,
        batch=fixed,
        recipe=Recipe(
            keep=settings.keep_fp32,
            without=settings.without,
            budget=Budget(settings.max_drop, settings.min_sqnr),
        ),
        watch=settings.watch,
    )
    return made, findings.to_json()

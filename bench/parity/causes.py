"""Why a comparison failed, where the file from outside is the cause and not what it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgerep.bench.parity.batch_plan import BatchPlan
from edgerep.bench.parity.references.network import Reference
from edgerep.bench.parity.references.onnx_file import OnnxReference
from edgerep.bench.sessions.runnable import Runnable
from edgerep.errors import EdgerepError


@contextmanager
def saying_that_it_takes_pixels(
    reference: Reference | OnnxReference, runnable: Runnable
) -> Iterator[None]:
    """Say of an artefact that takes pixels, but not how it normalises them, that it is why."""
    try:
        yield
    except EdgerepError as error:
        pixels = [spec.name for spec in runnable.inputs if spec.dtype == "uint8"]
        if not pixels or not runnable.preprocessing.is_identity:
            raise
        raise EdgerepError(
            f"{runnable.title} takes pixels as they are (`{pixels[0]}` is uint8) and has no note "
            f"of edgerep's of how it normalises them, so {reference.name} was given them "
            f"as they are, too, and does not take them. Compare the file that edgerep wrote, with "
            f"its note inside; or, as the reference, give a network that normalises uint8 itself "
            f"(`--model`, `x.float()` and mean and std in its `forward`). It said: {error}"
        ) from error


@contextmanager
def saying_that_it_is_open(runnable: Runnable, size: int, plan: BatchPlan) -> Iterator[None]:
    """Say of an artefact that fails beyond what it is made for that its batch is open."""
    try:
        yield
    except EdgerepError as error:
        if size not in plan.beyond:
            raise
        raise type(error)(
            f"{runnable.title} says that its batch is open, and fails at {size}: {error}\nIf it "
            f"is for {runnable.batch} alone, fix its batch there, or compare it with "
            f"`--batch {runnable.batch}`"
        ) from error

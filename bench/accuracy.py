"""Top-1 accuracy of a network or an artefact on labelled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.session import Session
from edgerep.bench.sessions.torch_session import TorchSession
from edgerep.data.preprocessing import Preprocessing
from edgerep.data.samples import Images, require_fitting
from edgerep.errors import DataError, first_line

_IMAGES_AT_ONCE = 32  # bounds the memory of the activations


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many labelled images a network put into their class.

    Attributes:
        form: "unfused" or "fused" for a module; for a file its kind: "onnx", "engine" or "coreml".
        runtime: What ran it.
        precision: "fp32", "fp16", ...
        correct: Images whose largest output is that of their label.
        total: Images that were looked at.
    """

    form: str
    runtime: str
    precision: str
    correct: int
    total: int

    @property
    def top1(self) -> float:
        return self.correct / self.total

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "top1": self.top1}


def require_classifier(module: nn.Module, images: Images, preprocessing: Preprocessing) -> None:
    """Run a network on one labelled image, before hours go into what cannot be evaluated.

    Raises:
        DataError: The network does not take the images, gives anything but one row of numbers
            for each, or has fewer classes than the labels.
        OptionError: `mean` or `std` has neither one number nor one per channel.
    """
    image = preprocessing.apply(images.pixels[:1]).astype(np.float32)
    with TorchSession(module) as session:
        try:
            outputs = session.run(image)
        except Exception as error:  # whatever a user's own forward raises
            first = first_line(error)
            raise DataError(
                f"accuracy needs a network that takes one image, and {type(module).__name__} does "
                f"not run on {list(image.shape)}: {first}"
            ) from error
    if len(outputs) != 1 or outputs[0].shape[:1] != (1,) or outputs[0].size < 2:
        found = ", ".join(str(list(output.shape)) for output in outputs)
        raise DataError(
            f"accuracy needs a classifier, one output [N, classes]; {type(module).__name__} gives "
            f"{found}"
        )
    if (largest := int(_labels(images).max())) >= outputs[0].size:
        raise DataError(
            f"the labels go up to {largest}, and {type(module).__name__} has {outputs[0].size} "
            f"classes, numbered from 0"
        )


def module_accuracy(
    module: nn.Module, images: Images, preprocessing: Preprocessing, *, form: str
) -> Accuracy:
    """The accuracy of a torch module, run in float32 on images that were preprocessed before.

    Raises:
        DataError: The images have no labels.
        OptionError: `mean` or `std` has neither one number nor one per channel.
        NetworkError: The module gives something else than tensors.
    """

    def prepared(pixels: Array) -> Array:
        return preprocessing.apply(pixels).astype(np.float32)

    with TorchSession(module) as session:
        correct = _count(session, images, (1, _IMAGES_AT_ONCE), prepared)
    return Accuracy(form, "torch", "fp32", correct, len(images))


def artefact_accuracy(runnable: Runnable, images: Images) -> Accuracy:
    """The accuracy of a runnable that can be run here, its preprocessing being inside it.

    The batch size is 32, or the nearest to it that the runnable is made for.

    Raises:
        DataError: The images have no labels, or do not fit the input.
        EdgerepError: The runtime refuses the file, or breaks down.
    """
    _labels(images)
    require_fitting(images.pixels, runnable.inputs[0])
    with runnable.open() as session:
        limits = (runnable.batch.smallest, min(runnable.batch.largest, _IMAGES_AT_ONCE))
        correct = _count(session, images, (limits[0], max(limits)))
        return Accuracy(runnable.kind, session.runtime, runnable.precision, correct, len(images))


def _count(
    session: Session,
    images: Images,
    batch: tuple[int, int],
    prepared: Callable[[Array], Array] = lambda pixels: pixels,
) -> int:
    """How many answers are right, in batches of the largest size; the last may be smaller.

    Args:
        session: Runs the network.
        images: With labels.
        batch: Smallest and largest; a smaller rest is filled up to the smallest.
        prepared: What the network is given of these pixels.
    """
    smallest, largest = batch
    labels, correct = _labels(images), 0
    for start in range(0, len(labels), largest):
        wanted = labels[start : start + largest]
        count = max(len(wanted), smallest)
        pixels = images.pixels[np.arange(start, start + count) % len(labels)]
        outputs = session.run(prepared(pixels))[0][: len(wanted)]
        correct += int((outputs.reshape(len(wanted), -1).argmax(1) == wanted).sum())
    return correct


def _labels(images: Images) -> Array:
    if images.labels is None:
        raise DataError("accuracy needs `labels` [N] beside the images")
    return images.labels

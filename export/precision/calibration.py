"""The user's images as the graph takes them that is made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgerep.artefacts.tensors import TensorSpec
from edgerep.data.preprocessing import Preprocessing
from edgerep.data.samples import images_for
from edgerep.errors import DataError
from edgerep.export.precision.settings import PrecisionSettings


def require_single_input(inputs: Sequence[TensorSpec]) -> None:
    """Refuse a graph that takes more than one image can be.

    Raises:
        DataError: It has several inputs.
    """
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise DataError(
            f"calibration images need a network with one input, and this takes {names}: "
            f"--precision int8-weights and fp16 need no images"
        )


def with_images_for(
    settings: PrecisionSettings, inputs: Sequence[TensorSpec], preprocessing: Preprocessing
) -> PrecisionSettings:
    """The same settings, their calibration images sliced as arrays are, whatever they came as.

    Args:
        settings: Of a precision.
        inputs: Of the graph before its preprocessing is put into it, or with it.
        preprocessing: What the graph does to its image itself.

    Raises:
        DataError: The images cannot be read or do not fit, or there are several inputs.
        OptionError: They are no images.
        MissingDependencyError: They are pictures, and Pillow is not installed.
    """
    if settings.calibration is None:
        return settings
    require_single_input(inputs)
    spec = inputs[0]
    if not preprocessing.is_identity:
        spec = replace(spec, dtype=preprocessing.dtype)
    pixels = images_for(settings.calibration, spec, preprocessing)
    return replace(settings, calibration=pixels)

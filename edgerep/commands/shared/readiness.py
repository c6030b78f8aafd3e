"""What is refused because this machine, or this call, cannot do it: known before any work."""

from __future__ import annotations

import importlib.util
import re

from edgerep.artefacts.kinds import COREML_TARGETS, OLDEST_TARGETS
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.devices import cuda_device_present
from edgerep.errors import MissingDependencyError, MissingRuntimeError, OptionError

_DEVICE = re.compile(r"(cpu|mps|cuda(:\d+)?)")


def require_coremltools() -> None:
    """Refuse to make Core ML packages where coremltools is not installed; it is not loaded.

    Raises:
        MissingDependencyError: It is not.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise MissingDependencyError("coremltools", "coreml")


def require_target(precision: str | None, target: str | None) -> None:
    """Refuse a system that does not know a precision.

    Args:
        precision: Of the package; None for that of a graph.
        target: What the user asked for, or None.

    Raises:
        OptionError: It is older than the precision.
    """
    since = OLDEST_TARGETS.get(precision or "")
    if target and since and COREML_TARGETS.index(target) < COREML_TARGETS.index(since):
        raise OptionError(
            f"{target} does not know {precision}: take --target {since}, or leave --target out"
        )


def require_device(device: str) -> None:
    """Refuse a device for torch networks that is none, or not here.

    Raises:
        MissingRuntimeError: CUDA was asked for, and no driver sees a GPU.
        OptionError: It is none of cpu, cuda, cuda:N and mps.
    """
    if not _DEVICE.fullmatch(device):
        raise OptionError(f"--device {device} is none of cpu, cuda, cuda:1, mps")
    if device.startswith("cuda") and not cuda_device_present():
        raise MissingRuntimeError(
            f"--device {device}: no CUDA device was found here; `edgerep doctor` says what runs"
        )


def require_single_image(
    wanted: GraphOptions, *, image_input: bool, labels: bool, onnx: bool
) -> None:
    """Refuse an image input or labels for what takes anything but one image at a time.

    Args:
        wanted: What the network is exported for.
        image_input: The package is to take an image.
        labels: The package is to answer with labels.
        onnx: SOURCE is an ONNX file, which says itself what it takes.

    Raises:
        OptionError: The options contradict each other.
    """
    asked = [name for name, on in (("--image-input", image_input), ("--labels", labels)) if on]
    if not asked:
        return
    if wanted.batch.smallest != 1:
        raise OptionError(
            f"{' and '.join(asked)} take one image at a time, and --batch {wanted.batch} begins "
            f"above 1"
        )
    if onnx:
        return
    if wanted.image_size is None:
        raise OptionError(f"{' and '.join(asked)} need a network that takes one image [C, H, W]")
    if image_input and wanted.preprocessing.input != "uint8":
        raise OptionError(
            "--image-input hands over pixels 0..255: add --input uint8, and the --preset (or "
            "--mean and --std) that the network was trained with"
        )

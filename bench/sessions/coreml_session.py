"""Run a Core ML package: with Core ML on a Mac, with the reference interpreter elsewhere."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgerep.artefacts.tensors import Array, TensorSpec
from edgerep.bench.sessions.mil.interpreter import evaluate, load_program
from edgerep.bench.sessions.session import Overflow, OwnedSession, Session
from edgerep.errors import CoremlError, MissingRuntimeError, OptionError
from edgerep.export.coreml.package import Package, open_package
from edgerep.export.coreml.quiet_coremltools import ct, quiet

COMPUTE_UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")


def open_coreml(package: Package | Path | str, *, compute_units: str = "ALL") -> Session:
    """A session on a package: Core ML on a Mac, the reference interpreter elsewhere.

    Args:
        package: The package, or its folder.
        compute_units: One of `COMPUTE_UNITS`; the interpreter has only the CPU.

    Raises:
        CoremlError: The package is damaged, Core ML refuses it, or the interpreter does not know
            one of its operations.
        OptionError: `compute_units` is unknown.
    """
    _require_units(compute_units)
    if platform.system() == "Darwin":
        return CoremlSession(package, compute_units=compute_units)
    return MilReferenceSession(package)


class _PackageSession(OwnedSession):
    """Base of the sessions on a package: inputs are given as its ONNX graph takes them."""

    def __init__(self, package: Package | Path | str) -> None:
        self.package = package if isinstance(package, Package) else open_package(package)

    def _feeds(self, inputs: tuple[Array, ...]) -> dict[str, Array]:
        specs, batch = self.package.inputs, self.package.batch
        if len(inputs) != len(specs):
            raise ValueError(f"{self.package.path} has {len(specs)} inputs, {len(inputs)} given")
        for spec, array in zip(specs, inputs, strict=True):
            count = array.shape[0] if array.ndim else 0
            if array.dtype != spec.dtype or array.shape != spec.concrete(count):
                raise ValueError(
                    f"input `{spec.name}` takes {spec.dtype} {_shape(spec)}; "
                    f"{array.dtype} {array.shape} given"
                )
            if None in spec.shape and not batch.smallest <= count <= batch.largest:
                raise ValueError(f"{self.package.path} is for a batch of {batch}; {count} given")
        return {spec.name: array for spec, array in zip(specs, inputs, strict=True)}

    def _outputs(self, answer: dict[str, Any]) -> tuple[Array, ...]:
        """Outputs in float32; of a classifier, the probabilities [1, classes] in label order."""
        if self.package.labels:
            found = next(value for value in answer.values() if isinstance(value, dict))
            return (np.array([[found[name] for name in self.package.labels]], np.float32),)
        return tuple(np.array(answer[spec.name], dtype=np.float32) for spec in self.package.outputs)


class MilReferenceSession(_PackageSession):
    """The saved program, evaluated on the CPU; the same on every system.

    Args:
        package: The package, or its folder.
        also: Names of values inside the program, to be given behind the outputs, in this order.

    Raises:
        CoremlError: The package is damaged, or has operations the interpreter does not know.
    """

    runtime = "mil-reference"
    how = (
        "the saved program, evaluated by edgerep's reference interpreter on this machine; "
        "not Apple's kernels"
    )

    def __init__(self, package: Package | Path | str, *, also: Sequence[str] = ()) -> None:
        super().__init__(package)
        self._program = load_program(self.package.path)
        self._also = tuple(also)

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        seen: list[Overflow] = []
        feeds = self._feeds(inputs)
        answer = evaluate(self._program, feeds, also=self._also, seen=seen.append)
        self.overflows = tuple(seen)
        return self._outputs(answer) + tuple(answer[name] for name in self._also)


class CoremlSession(_PackageSession):
    """The package as Core ML runs it; macOS only.

    Args:
        package: The package, or its folder.
        compute_units: What Core ML may use; what it does use, it decides for itself.

    Raises:
        CoremlError: The package is damaged, or Core ML refuses to load it.
        MissingRuntimeError: This is not a Mac.
        OptionError: `compute_units` is unknown.
    """

    runtime = "coreml"

    def __init__(self, package: Package | Path | str, *, compute_units: str = "ALL") -> None:
        _require_units(compute_units)
        if platform.system() != "Darwin":
            raise MissingRuntimeError(
                f"Core ML exists on Apple's systems only, and this is {platform.system()}: "
                f"use the reference interpreter, or copy the package to a Mac"
            )
        super().__init__(package)
        # coremltools writes to the manifest of the package that it opens: to that of a copy.
        self._copies = tempfile.TemporaryDirectory(prefix="edgerep-")
        copy = Path(self._copies.name, self.package.path.name)
        try:
            shutil.copytree(self.package.path, copy)
            with quiet():
                self._model: Any = ct.models.MLModel(
                    str(copy), compute_units=ct.ComputeUnit[compute_units]
                )
        except (RuntimeError, ValueError, OSError) as error:
            self._copies.cleanup()
            raise CoremlError(f"Core ML refuses {self.package.path}: {error}") from error
        self.how = (
            f"Core ML of macOS {platform.mac_ver()[0]}, allowed compute units {compute_units}"
        )

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        feeds = self._feeds(inputs)
        if self.package.image_input:
            return self._outputs(self._model.predict({n: _image(a) for n, a in feeds.items()}))
        arrays = {
            name: array.astype(np.float32) if array.dtype == np.uint8 else array
            for name, array in feeds.items()
        }
        return self._outputs(self._model.predict(arrays))

    def close(self) -> None:
        self._model = None
        self._copies.cleanup()


def _image(pixels: Array) -> Any:
    """uint8 [1, 1 or 3, H, W] as the image object that Core ML's Python interface takes."""
    from PIL import Image  # only images need it, and only on a Mac

    planes = pixels[0]
    return Image.fromarray(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))


def _require_units(compute_units: str) -> None:
    if compute_units not in COMPUTE_UNITS:
        raise OptionError(
            f"compute units {compute_units!r} are not one of {', '.join(COMPUTE_UNITS)}"
        )


def _shape(spec: TensorSpec) -> str:
    return str(tuple("N" if size is None else size for size in spec.shape)).replace("'", "")

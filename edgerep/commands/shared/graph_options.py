"""The options by which a source becomes a graph, as one value."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgerep.artefacts.batches import BatchProfile
from edgerep.commands.shared.option_values import shapes_from
from edgerep.data.preprocessing import NO_PREPROCESSING, PRESETS, Preprocessing
from edgerep.errors import MissingDependencyError, OptionError
from edgerep.export.precision.settings import CALIBRATED

if TYPE_CHECKING:
    from edgerep.networks.interface import InputShapes


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """The options by which a source becomes a graph.

    Attributes:
        model: "package.module:callable" that builds a network of the user's own; None for the
            networks that edgerep knows.
        size: Height and width of the image, where `input_shapes` is None.
        input_shapes: Without the batch, in the order of `forward` or by the names of its
            parameters; None for one image.
        batch: The batch sizes of the graph.
        preprocessing: What is put into the graph.
        bn_eps: eps of every BatchNorm; None is 1e-5, with `model` the network's own.
        repair: Rewrite the Q/DQ of an ONNX file that TensorRT does not take.
        keep_fp32: Layers that stay in float32 in narrower precisions.
        max_drop: Of INT8, in points.
        min_sqnr: Of INT8, in decibels.
        without: Stages of INT8 that are left out.
        fit: How pictures come to the size of the image.
        image_preset: What is done to pictures in front of a model that takes normalised numbers.
        given: The long names of all options that stand on the command line.
    """

    model: str | None
    size: tuple[int, int]
    input_shapes: InputShapes | None
    batch: BatchProfile
    preprocessing: Preprocessing
    bn_eps: float | None
    repair: bool = False
    keep_fp32: tuple[str, ...] = ()
    max_drop: float | None = None
    min_sqnr: float | None = None
    without: tuple[str, ...] = ()
    fit: str = "crop"
    image_preset: str | None = None
    given: frozenset[str] = frozenset()

    def settings_of(self, precision: str | None) -> dict[str, Any]:
        """The keywords of `export_onnx` and `adapt_onnx` by which a precision is made."""
        found: dict[str, Any] = {}
        if precision not in (None, "fp32"):
            found["keep_fp32"] = self.keep_fp32
        if precision == "int8":
            found.update(max_drop=self.max_drop, min_sqnr=self.min_sqnr, without=self.without)
        return found

    def require_precisions(self, precisions: Sequence[str | None], *, images: bool) -> None:
        """Refuse, at once, options of precisions that are not wanted, and INT8 without images.

        Args:
            precisions: Those that are wanted; None for a graph's own.
            images: Whether there is a --calibration.

        Raises:
            MissingDependencyError: They are made by running the graph, and ONNX Runtime is not
                installed.
            OptionError: As said.
        """
        for option in ("--max-drop", "--min-sqnr", "--without"):
            if option in self.given and "int8" not in precisions:
                raise OptionError(f"{option} is for --precision int8")
        if self.keep_fp32 and not set(precisions).difference(("fp32", None)):
            raise OptionError("--keep-fp32 is for precisions narrower than fp32")
        for precision in precisions:
            if precision in CALIBRATED and not images:
                raise OptionError(
                    f"--precision {precision} is calibrated on images: give --calibration, 256 of "
                    f"them or more, such as the network will see"
                )
            if precision in CALIBRATED and importlib.util.find_spec("onnxruntime") is None:
                raise MissingDependencyError("onnxruntime", "bench")

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the image; None where the network takes anything but one image."""
        if self.input_shapes is None:
            return self.size
        given = self.input_shapes
        shapes = [*(given.values() if isinstance(given, Mapping) else given)]
        if len(shapes) != 1 or len(shapes[0]) != 3:
            return None
        _, height, width = shapes[0]
        return height, width


def graph_options(options: dict[str, Any]) -> GraphOptions:
    """Take what `network_options`, `shape_options` and `image_options` say out of the arguments.

    Args:
        options: The keyword arguments; what is taken is removed.

    Raises:
        OptionError: Both `--input-shape` and `--size` were given, an input has two shapes, or the
            preprocessing is out of range.
    """
    shapes = shapes_from(options.pop("input_shapes"))
    given = given_options()
    if shapes is not None and "--size" in given:
        raise OptionError("--input-shape and --size say the same thing: give one of them")
    preprocessing = NO_PREPROCESSING
    if "input_kind" in options:
        preprocessing = _preprocessing(
            options.pop("input_kind"), options.pop("preset"), options.pop("mean"),
            options.pop("std"),
        )  # fmt: skip
    return GraphOptions(
        model=options.pop("model"),
        size=options.pop("size"),
        input_shapes=shapes,
        batch=options.pop("batch"),
        preprocessing=preprocessing,
        bn_eps=options.pop("bn_eps"),
        repair=options.pop("repair", False),
        keep_fp32=options.pop("keep_fp32", ()),
        max_drop=options.pop("max_drop", None),
        min_sqnr=options.pop("min_sqnr", None),
        without=options.pop("without", ()),
        fit=options.pop("fit", "crop"),
        image_preset=_image_preset(options, given, preprocessing),
        given=given,
    )


def _image_preset(
    options: dict[str, Any], given: Collection[str], preprocessing: Preprocessing
) -> str | None:
    """What is done to pictures; `--preset unit` says of numbers that they are 0..1 as they are."""
    preset: str | None = options.pop("image_preset", None)
    if preset is None and "--preset" in given and preprocessing.is_identity:
        return "unit"
    return preset


def _preprocessing(
    kind: str, preset: str | None, mean: tuple[float, ...], std: tuple[float, ...]
) -> Preprocessing:
    if preset is not None:
        if mean or std:
            raise OptionError(f"--preset {preset} is a mean and a std: leave --mean and --std out")
        mean, std = PRESETS[preset]
    if len(mean) > 1 and len(std) > 1 and len(mean) != len(std):
        raise OptionError(f"--mean has {len(mean)} values and --std {len(std)}: one per channel")
    preprocessing = Preprocessing(kind, mean, std)
    preprocessing.require_plausible()
    return preprocessing


def given_options() -> frozenset[str]:
    """The long names of the options that stand on the command line of the running command."""
    context = click.get_current_context(silent=True)
    if context is None:
        return frozenset()
    return frozenset(
        max(parameter.opts, key=len)
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    )

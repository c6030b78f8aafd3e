"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from edgerep.artefacts.batches import BatchProfile, batch_profile
from edgerep.artefacts.kinds import PRECISIONS, RUNTIMES
from edgerep.data.preprocessing import INPUT_KINDS
from edgerep.errors import OptionError
from edgerep.networks.interface import InputShapes

F = TypeVar("F", bound=Callable[..., Any])


class BatchType(click.ParamType[BatchProfile]):
    """`8`, or `1:8:32` for a range with its optimum."""

    name = "N|MIN:OPT:MAX"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> BatchProfile:
        try:
            return batch_profile(value)
        except OptionError as error:
            self.fail(str(error), param, ctx)


class SizeType(click.ParamType[tuple[int, int]]):
    """`224`, or `192x256` for height and width."""

    name = "N|HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is neither N nor HxW, for example 224 or 192x256", param, ctx)
        return int(parts[0]), int(parts[-1])


class InputShapeType(click.ParamType[tuple[str | None, tuple[int, ...]]]):
    """`3x224x224`, without the batch, or `NAME=3x224x224` for a parameter of `forward`."""

    name = "[NAME=]CxHxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str | None, tuple[int, ...]]:
        if isinstance(value, tuple):
            return value
        name, equals, shape = str(value).rpartition("=")
        parts = shape.lower().split("x")
        named = name.isidentifier() if equals else True
        if not named or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(
                f"{value!r} is neither a shape without the batch, for example 3x224x224, nor "
                f"NAME=3x224x224",
                param,
                ctx,
            )
        return (name or None), tuple(map(int, parts))


def shapes_from(given: Sequence[tuple[str | None, tuple[int, ...]]]) -> InputShapes | None:
    """The values of `--input-shape` as `input_shapes` of the Python functions; None for none.

    Raises:
        OptionError: Some have a name and some have none, or a name is there twice.
    """
    if not given:
        return None
    named = {name: shape for name, shape in given if name is not None}
    if not named:
        return [shape for _, shape in given]
    if len(named) < len(given):
        raise OptionError("--input-shape: name each input once, or give all shapes in order")
    return named


class NumbersType(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them: one for all channels, or one for each."""

    name = "X[,X...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not numbers with commas between them", param, ctx)


def require_suffix(output: Path, suffix: str, what: str) -> None:
    """Refuse an output whose name would say that it is something else.

    Args:
        output: The path that was given.
        suffix: What it must end in.
        what: What is to be written, for the message: "an ONNX file".

    Raises:
        OptionError: The suffix is another one.
    """
    if output.suffix != suffix:
        raise OptionError(f"{output}: give {what} a name that ends in {suffix}")


def output_option(what: str) -> Callable[[F], F]:
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), required=True, help=f"{what} to write."
    )


def runtime_option(help: str) -> Callable[[F], F]:
    return click.option(
        "--runtime", type=click.Choice(("auto", *RUNTIMES)), default="auto", show_default=True,
        help=help,
    )  # fmt: skip


def network_options(command: F) -> F:
    """Add the options that say how the source is read and what is put into its graph."""
    for option in reversed(_NETWORK_OPTIONS):
        command = option(command)
    return command


bn_eps_option = click.option(
    "--bn-eps", type=float,
    help="eps of every BatchNorm: a checkpoint does not carry it. [default: 1e-5; with --model "
    "the network's own]",
)  # fmt: skip

model_option = click.option(
    "--model", metavar="PACKAGE.MODULE:CALLABLE",
    help="A network of your own: what builds it without arguments. Its code is run; SOURCE is then "
    "a checkpoint of it, or - for its weights as built.",
)  # fmt: skip

input_shape_option = click.option(
    "--input-shape", "input_shapes", type=InputShapeType(), multiple=True,
    help="What the network takes, without the batch; once for each input. [default: one image of "
    "--size]",
)  # fmt: skip

precision_option = click.option(
    "--precision", type=click.Choice(PRECISIONS),
    help="Of the weights and the arithmetic, written into the graph. [default: fp32; an ONNX "
    "file's own]",
)  # fmt: skip

keep_onnx_option = click.option(
    "--keep-onnx", type=click.Path(path_type=Path),
    help="Keep the ONNX file that is made on the way here.",
)  # fmt: skip

calibration_option = click.option(
    "--calibration", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Images of your own to compare on too: .npz with `images` [N, C, H, W], or .npy.",
)  # fmt: skip

_NETWORK_OPTIONS = (
    model_option,
    input_shape_option,
    click.option("--size", type=SizeType(), default="224", show_default=True,
                 help="Height and width of the image."),
    click.option("--batch", type=BatchType(), default="1", show_default=True,
                 help="A static batch, or the smallest, best-tuned and largest."),
    click.option("--input", "input_kind", type=click.Choice(INPUT_KINDS), default="float",
                 show_default=True, help="What the model is given: numbers, or pixels 0..255."),
    click.option("--mean", type=NumbersType(), default=(),
                 help="To subtract, per channel, for images in 0..1; becomes part of the model."),
    click.option("--std", type=NumbersType(), default=(),
                 help="To divide by, per channel, for images in 0..1; becomes part of the model."),
    bn_eps_option,
)  # fmt: skip

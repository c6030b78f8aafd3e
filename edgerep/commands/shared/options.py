"""Options that several commands share. Nothing heavy is imported here: `--help` comes at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgerep.artefacts.kinds import COREML_TARGETS, DEFAULT_TARGET, PRECISIONS, RUNTIMES
from edgerep.commands.shared.option_values import (
    BatchType,
    Choice,
    EpsType,
    ExistingFile,
    ExistingPath,
    InputShapeType,
    NumbersType,
    SizeType,
    SourceType,
)
from edgerep.data.preprocessing import FITS, INPUT_KINDS, PRESETS
from edgerep.export.precision.settings import STAGES

F = TypeVar("F", bound=Callable[..., Any])

FEWEST_ROUNDS = 6  # `bench.timing.intervals.MIN_ROUNDS`, which a help page need not load NumPy for

source_argument = click.argument("source", type=SourceType())

existing_file = ExistingFile()
existing_images = ExistingPath()


def output_option(what: str) -> Callable[[F], F]:
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), required=True, help=f"{what} to write."
    )


def runtime_option(help: str) -> Callable[[F], F]:
    return click.option(
        "--runtime", type=Choice(("auto", *RUNTIMES)), default="auto", show_default=True,
        help=help,
    )  # fmt: skip


def coreml_target_option(help: str) -> Callable[[F], F]:
    return click.option(
        "--target", type=Choice(COREML_TARGETS, case_sensitive=False),
        metavar=f"[{'|'.join(COREML_TARGETS)}]",
        help=f"{help}; iOS16 stands for macOS 13 too. [default: {DEFAULT_TARGET}; iOS17 for a "
        f"graph with int8 activations]",
    )  # fmt: skip


def rounds_option(help: str) -> Callable[[F], F]:
    return click.option(
        "--rounds", type=click.IntRange(min=FEWEST_ROUNDS), default=30, show_default=True,
        metavar="N", help=help,
    )  # fmt: skip


def together(options: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    """Several options as one decorator, on the help page in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


bn_eps_option = click.option(
    "--bn-eps", type=EpsType(),
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
    metavar="[NAME=]CxHxW",
    help="What the network takes, without the batch; once for each input. [default: one image of "
    "--size]",
)  # fmt: skip

size_option = click.option(
    "--size", type=SizeType(), default="224", show_default=True, metavar="N|HxW",
    help="Height and width of the image.",
)  # fmt: skip

batch_option = click.option(
    "--batch", type=BatchType(), default="1", show_default=True, metavar="N|MIN:OPT:MAX",
    help="A static batch, or the smallest, best-tuned and largest.",
)  # fmt: skip

precision_option = click.option(
    "--precision", type=Choice(PRECISIONS),
    help="Of the weights and the arithmetic, written into the graph. [default: fp32; an ONNX "
    "file's own]",
)  # fmt: skip

repair_option = click.option(
    "--repair", is_flag=True,
    help="Of an ONNX file with Q/DQ: rewrite what TensorRT does not take and what can be said "
    "otherwise in the same numbers (int32 biases, uint8 around 128, ...).",
)  # fmt: skip

keep_onnx_option = click.option(
    "--keep-onnx", type=click.Path(path_type=Path),
    help="Keep the ONNX file that is made on the way here.",
)  # fmt: skip

labels_option = click.option(
    "--labels", type=existing_file,
    help="Names of the classes, one a line or a JSON list: the package answers with labels.",
)  # fmt: skip

calibration_option = click.option(
    "--calibration", type=existing_images,
    help="Images of your own, to compare on too, all of them, and to make int8 from: a folder of "
    "pictures, or .npz or .safetensors with `images` [N, C, H, W], or .npy.",
)  # fmt: skip

max_images_option = click.option(
    "--max-images", type=click.IntRange(min=1), metavar="N",
    help="Compare on the first N images of --calibration only; the verdict says so.",
)  # fmt: skip

fit_option = click.option(
    "--fit", type=Choice(FITS), default="crop", show_default=True,
    help="How pictures of a folder come to the network's size: the middle after resizing to 8/7, "
    "with grey borders, or out of proportion.",
)  # fmt: skip

image_preset_option = click.option(
    "--image-preset", type=Choice(tuple(PRESETS)),
    help="What is done to pictures of a folder in front of a model that takes normalised numbers.",
)  # fmt: skip

# How images of the user's own are read, once there is a network for them.
image_options = together((calibration_option, max_images_option, fit_option, image_preset_option))

# How a source is read, without what is put into its graph.
shape_options = together((model_option, bn_eps_option, input_shape_option, size_option,
                          batch_option))  # fmt: skip

# How a source is read, and what is put into its graph.
network_options = together((
    shape_options,
    click.option("--input", "input_kind", type=Choice(INPUT_KINDS), default="float",
                 show_default=True, help="What the model is given: numbers, or pixels 0..255."),
    click.option("--preset", type=Choice(tuple(PRESETS)),
                 help="A usual --mean and --std by name; unit is 0..1 as it is."),
    click.option("--mean", type=NumbersType(), default=(), metavar="X[,X...]",
                 help="To subtract, per channel, for images in 0..1; becomes part of the model."),
    click.option("--std", type=NumbersType(), default=(), metavar="X[,X...]",
                 help="To divide by, per channel, for images in 0..1; becomes part of the model."),
    click.option("--keep-fp32", multiple=True, metavar="LAYER",
                 help="A layer that stays in float32; may be repeated."),
    click.option("--max-drop", type=click.FloatRange(0, 100), metavar="POINTS",
                 help="int8: of 100 held-out images, how many may be answered otherwise than in "
                 "float32. The fewest layers that this takes stay in float32."),
    click.option("--min-sqnr", type=click.FloatRange(0, 100), metavar="DB",
                 help="int8: signal to quantisation noise of every output; likewise."),
    click.option("--without", type=Choice(STAGES), multiple=True,
                 help="int8: leave this stage out; may be repeated."),
))  # fmt: skip

"""How the values of options are read from the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgerep.artefacts.batches import BatchProfile, batch_profile
from edgerep.commands.shared.suggestions import did_you_mean, file_meant
from edgerep.errors import OptionError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from edgerep.networks.interface import InputShapes

TARGETS = ("onnx", "engine", "coreml")  # of `deploy`, in the order of making


class SourceType(click.ParamType[str]):
    """A file, "-", or the name of a published network; the shell completes the first and last."""

    name = "source"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from edgerep.networks.variants import PUBLISHED

        names = (name.lower().replace("-", "_") for name in PUBLISHED)
        wanted = incomplete.lower().replace("-", "_")
        found = [CompletionItem(name) for name in names if wanted and name.startswith(wanted)]
        return [*found, CompletionItem(incomplete, type="file")]


class Choice(click.Choice[str]):
    """One of some words; a near miss is told which one it may have meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            words = [str(choice) for choice in self.choices]
            self.fail(f"{error.message.rstrip('.')}{did_you_mean(str(value), words)}", param, ctx)


class ExistingFile(click.Path):
    """A file that is there; for one that is not, the name beside it that was perhaps meant."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not Path(value).exists():
            self.fail(f"{str(value)!r} does not exist{file_meant(value)}", param, ctx)
        return super().convert(value, param, ctx)


class ExistingPath(ExistingFile):
    """A file or a folder that is there."""

    def __init__(self) -> None:
        super().__init__()
        self.dir_okay = True
        self.name = "path"


class EpsType(click.ParamType[float]):
    """The eps of a BatchNorm: finite, and not negative."""

    name = "float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = click.FLOAT.convert(value, param, ctx)
        if not 0 <= number < math.inf:
            self.fail(f"{value} is not finite and 0 or more", param, ctx)
        return number


class BatchType(click.ParamType[BatchProfile]):
    """`8`, or `1:8:32` for a range with its optimum."""

    name = "batch"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> BatchProfile:
        try:
            return batch_profile(value)
        except OptionError as error:
            self.fail(str(error), param, ctx)


class SizeType(click.ParamType[tuple[int, int]]):
    """`224`, or `192x256` for height and width."""

    name = "size"

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

    name = "shape"

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


class TargetsType(click.ParamType[tuple[str, ...]]):
    """Targets of `deploy` with commas between them."""

    name = "targets"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip().lower() for part in str(value).split(","))
        if unknown := [name for name in names if name not in TARGETS]:
            hint = did_you_mean(unknown[0], TARGETS)
            self.fail(f"{unknown[0]!r} is none of {', '.join(TARGETS)}{hint}", param, ctx)
        return names


class NumbersType(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them: one for all channels, or one for each."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not numbers with commas between them", param, ctx)


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

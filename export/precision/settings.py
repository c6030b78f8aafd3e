"""What the caller says of a precision, beside its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgerep.errors import DataError, OptionError, given

STAGES = ("equalisation", "rounding", "bias")  # of INT8, that can be left out
CALIBRATED = ("int8", "fp8")  # precisions that are made from images


def require_enough(images: int, precision: str) -> None:
    """Refuse so few images that none could be held out.

    Raises:
        DataError: There is one, or none.
    """
    if images < 2:
        raise DataError(
            f"{precision} is calibrated on images, some of them held out, and {images} is too few: "
            f"give 256 or more"
        )


def silent(what: str, done: int, count: int) -> None:
    """Tell nobody how far the work is."""


@dataclass(frozen=True, eq=False)
class PrecisionSettings:
    """How a graph is put into fewer bits.

    Attributes:
        keep_fp32: Names of layers that stay in float32, as `edgerep inspect` shows them.
        calibration: The user's images, as they gave them, then (`with_images_for`) as the graph
            takes them, [N, C, H, W], its preprocessing not applied. None where there are none.
        max_drop: INT8: of the held-out images, how many in a hundred may be answered otherwise than
            in float32; layers stay in float32 until it is kept.
        min_sqnr: INT8: signal to quantisation noise of every output, in decibels; likewise.
        without: Stages of INT8 that are left out, of `STAGES`.
        watch: Told what is being done, how far it is, and of how much.

    Raises:
        OptionError: A number or a stage is out of its range.
    """

    keep_fp32: tuple[str, ...] = ()
    calibration: Any = None
    max_drop: float | None = None
    min_sqnr: float | None = None
    without: tuple[str, ...] = ()
    watch: Callable[[str, int, int], None] = field(default=silent)

    def __post_init__(self) -> None:
        _require_within("max_drop", self.max_drop, "points")
        _require_within("min_sqnr", self.min_sqnr, "decibels")
        if unknown := [stage for stage in self.without if stage not in STAGES]:
            raise OptionError(f"{unknown[0]!r} is no stage of INT8: {', '.join(STAGES)}")

    def require_for(self, precision: str) -> None:
        """Refuse what a precision lacks, and what is not for it.

        Raises:
            OptionError: It is made from images and there are none, or a setting is of another one.
        """
        if precision in CALIBRATED and self.calibration is None:
            raise OptionError(
                f"{precision} is calibrated on images, and there are none: give --calibration "
                f"(in Python `calibration=`), 256 of them or more as the network will see them"
            )
        only_int8: Mapping[str, object] = {
            "--max-drop": self.max_drop,
            "--min-sqnr": self.min_sqnr,
            "--without": self.without or None,
        }
        wrong = [name for name, value in only_int8.items() if value is not None]
        if wrong and precision != "int8":
            raise OptionError(f"{wrong[0]} is for --precision int8, and {precision} is wanted")
        if self.keep_fp32 and precision == "fp32":
            raise OptionError("--keep-fp32 names layers that stay in float32, where all do")


def names_in(value: str | Sequence[str]) -> tuple[str, ...]:
    """The names that a caller gave: several, or one by itself.

    Raises:
        OptionError: One of them is no text.
    """
    names = (value,) if isinstance(value, str) else tuple(value)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise OptionError(f"names of layers and stages are texts, and {given(wrong[0])}")
    return names


def _require_within(name: str, value: object, unit: str) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 100:
        raise OptionError(f"{name} {value!r}: {unit}, from 0 to 100")


DEFAULTS = PrecisionSettings()

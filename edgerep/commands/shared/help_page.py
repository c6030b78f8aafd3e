"""The help page of a command: its options in groups, and examples to copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

# Every option of every command by its long name, in the order of the help pages. An option of the
# same name is in the same place on every page.
OPTION_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Source": ("--model", "--bn-eps"),
    "Network": ("--input-shape", "--size", "--batch", "--unfused"),
    "Precision and preprocessing": (
        "--precision", "--keep-fp32", "--max-drop", "--min-sqnr", "--without", "--repair",
        "--input", "--preset", "--mean", "--std",
    ),
    "Target": (
        "--targets", "--require", "--runtime", "--target", "--image-input", "--labels", "--author",
        "--description", "--license", "--workspace", "--timing-cache", "--hardware-compatible",
        "--version-compatible", "--compute-capability", "--dla", "--optimization-level",
    ),
    "Comparison": (
        "--calibration", "--max-images", "--evaluate", "--fit", "--image-preset", "--strict",
    ),
    "Measurement": ("--bench", "--rounds", "--threads", "--device", "--memory", "--seed"),
    "Output": (
        "--output", "--to", "--title", "--keep-onnx", "--json", "--quiet", "--verbose", "--help",
    ),
}  # fmt: skip
_ELSEWHERE = "Other"  # for an option that the table above does not list yet


class Command(click.Command):
    """A command whose help page has its options in groups, and examples.

    Args:
        *args: Of `click.Command`.
        examples: Whole command lines, shown as they stand.
        **kwargs: Of `click.Command`.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        grouped: dict[str, list[tuple[int, tuple[str, str]]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                group, place = group_of(parameter)
                grouped.setdefault(group, []).append((place, record))
        for group in (*OPTION_GROUPS, _ELSEWHERE):
            if group in grouped:
                ordered = sorted(grouped[group], key=lambda entry: entry[0])
                with formatter.section(group):
                    formatter.write_dl([record for _, record in ordered])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self.examples:
            formatter.write_paragraph()
            formatter.write("Examples:\n")
            for example in self.examples:
                formatter.write("".join(f"  {line}\n" for line in example.splitlines()))


def group_of(parameter: click.Parameter) -> tuple[str, int]:
    """The group of an option on the help page, and its place there."""
    for group, names in OPTION_GROUPS.items():
        for name in parameter.opts:
            if name in names:
                return group, names.index(name)
    return _ELSEWHERE, 0

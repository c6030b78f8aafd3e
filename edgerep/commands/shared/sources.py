"""What is refused about a SOURCE before anything is loaded: its kind, and options not for it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edgerep.artefacts.kinds import kind_of
from edgerep.commands.shared.suggestions import did_you_mean, file_meant
from edgerep.errors import CheckpointError, EdgerepError, OptionError

AS_BUILT = "-"  # the weights that --model builds
_KINDS = {"engine": "an engine", "coreml": "a Core ML package", "onnx": "an ONNX file"}
# What only a network can be told; an ONNX file has it already.
_OF_NETWORKS = ("--model", "--input-shape", "--size", "--bn-eps", "--unfused")


def require_source(
    source: str, given: Collection[str], *, model: str | None, onnx: str = ""
) -> None:
    """Refuse a SOURCE that is not there, is of another kind, or has options that are not for it.

    Args:
        source: As it stands on the command line.
        given: The long names of the options that stand there too.
        model: The value of `--model`.
        onnx: What to do instead with an ONNX file; empty where one is taken as a source.

    Raises:
        CheckpointError, EdgerepError: There is no such file and no such network; or the file is
            of a kind that is no source.
        OptionError: An option is not for this kind of source.
    """
    if not source:
        raise OptionError(
            "SOURCE is empty (a shell variable that is not set?): give a checkpoint or the name of "
            "a network"
        )
    if "--repair" in given and kind_of(source) != "onnx":
        raise OptionError(
            f"--repair is for an ONNX file that is quantised already: {source} is none"
        )
    if model is not None:
        parts = model.replace(":", ".").split(".")
        if model.count(":") != 1 or not all(part.isidentifier() for part in parts):
            raise OptionError(
                f"{model!r} is not package.module:callable, such as mynets.detector:build"
            )
    if source == AS_BUILT:
        if model is None:
            raise OptionError(
                f"{source} stands for the weights that --model builds: give a --model"
            )
        return
    path = Path(source)
    if not path.exists():
        if model is not None or path.suffix or "/" in source:
            raise CheckpointError(
                f"{source} does not exist: give the file of a checkpoint{file_meant(source)}"
            )
        from edgerep.networks.variants import PUBLISHED, variant_named

        if variant_named(source) is None:
            raise CheckpointError(
                f"{source} is neither a file nor a published network: {', '.join(PUBLISHED)}"
                f"{did_you_mean(source, PUBLISHED)}"
            )
        return
    kind = kind_of(path)
    if kind == "onnx":
        if onnx:
            raise EdgerepError(f"{source} is an ONNX file, and this begins with a network: {onnx}")
        if wrong := [name for name in _OF_NETWORKS if name in given]:
            raise OptionError(
                f"{source} is an ONNX file, which has its own network, size and BatchNorms: "
                f"{', '.join(wrong)} cannot change it"
            )
    elif kind in _KINDS:
        raise EdgerepError(
            f"{source} is {_KINDS[kind]}, made from a network already: give the checkpoint or the "
            f"ONNX file that it was made from"
        )
    elif path.is_dir():
        raise CheckpointError(f"{source} is a folder: give the file of a checkpoint")


def require_there(*paths: Path) -> None:
    """Refuse files that are not there, all at once.

    Raises:
        EdgerepError: At least one is not there.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        hint = file_meant(missing[0]) if len(missing) == 1 else ""
        raise EdgerepError(f"{', '.join(map(str, missing))}: no such file{hint}")

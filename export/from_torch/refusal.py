"""Why a module cannot be exported, in one sentence instead of the exporter's page."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from edgerep.errors import NetworkError, kind_and_line
from edgerep.networks.interface import flat_outputs
from edgerep.networks.trial import does_not_run

_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")
_TORCH = str(Path(torch.__file__).parent)
_LONGEST = 300  # characters of somebody else's message


def refusal_of(error: Exception, module: nn.Module, examples: Sequence[Tensor]) -> str:
    """What keeps a module from being exported, and where in the module, in one sentence.

    Args:
        error: What `torch.onnx.export` raised.
        module: The module that was to be exported.
        examples: The inputs it was to be exported with. It is traced on them once more, to find
            the part that has the operator, or run, to find whether it runs at all.
    """
    name = type(module).__name__
    for cause in _causes(error):
        if found := _OPERATOR.search(str(cause)):
            operator = found[1]
            place = _part_with(operator, module, examples)
            return (
                f"{name} cannot be exported to ONNX: {place or 'a part of it'} uses {operator}, "
                f"for which torch {torch.__version__} has no ONNX operator: take it out of the "
                f"network, and do its work outside"
            )
    shapes = ", ".join(str(list(example.shape)) for example in examples)
    try:
        with torch.no_grad():
            flat_outputs(module(*examples))
    except NetworkError as odd:
        return f"{name} cannot be exported to ONNX: {odd}"
    except Exception as own:  # whatever a user's own forward raises
        return does_not_run(module, examples, own)
    root = list(_causes(error))[-1]
    return (
        f"{name} runs on inputs {shapes} and cannot be traced for ONNX: "
        f"{_said(root)}{_line(root)}. Python that depends on the numbers in a tensor, or on "
        f"the batch, cannot become a graph"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _part_with(operator: str, module: nn.Module, examples: Sequence[Tensor]) -> str | None:
    """The deepest part of the module that calls an operator, as "path (Class)"."""
    try:
        program = torch.export.export(module, tuple(examples), strict=False)
        nodes = list(program.run_decompositions().graph.nodes)
    except Exception:  # it was traceable a moment ago; then the message does without the place
        return None
    for node in nodes:
        if str(node.target).rpartition(".")[0] == operator:
            stack = node.meta.get("nn_module_stack") or {}
            for path, kind in reversed(list(stack.values())):
                place = re.sub(r"\['?([^'\]]+)'?\]", r".\1", path).removeprefix("L.self").strip(".")
                short = (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]
                return f"{place} ({short})" if place else short
    return None


def _said(error: BaseException) -> str:
    return kind_and_line(error)[:_LONGEST].rstrip(".")


def _line(error: BaseException) -> str:
    """The file and line outside torch that the error came from, for a message; empty if unknown."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_TORCH, str(Path(__file__).parent), "<"))
    ]  # fmt: skip
    # A guard's own traceback ends inside torch, and its message has the user's line.
    if said := re.search(r'File "([^"]+)", line (\d+), in \w+\n\s*(.+)', str(error)):
        return f", in {Path(said[1]).name}:{said[2]}, `{said[3].strip()}`"
    if not frames:
        return ""
    last = frames[-1]
    return f", in {Path(last.filename).name}:{last.lineno}, `{last.line}`"

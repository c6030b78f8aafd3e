"""Checks of an exported graph against the network that it was made from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgerep.errors import OnnxError
from edgerep.export.graph.onnx_file import count_operators
from edgerep.networks.repvgg import RepVGG

_CONVOLUTION = re.compile(r"aten\._?conv")
_BATCHNORM = re.compile(r"aten\..*batch_norm")


@dataclass(frozen=True, slots=True)
class Calls:
    """How many convolutions (transposed ones too) and BatchNorms one inference calls."""

    convolutions: int
    batchnorms: int


def calls_of(module: nn.Module, inputs: Sequence[Tensor]) -> Calls:
    """Run a module once and count its convolutions and BatchNorms, layers and functions alike."""
    counter = _Counter()
    with torch.no_grad(), counter:  # inference mode would hide what composite operators call
        module(*inputs)
    return Calls(counter.convolutions, counter.batchnorms)


def require_same_calls(model: onnx.ModelProto, program: Any, called: Calls) -> None:
    """Check that a graph has the convolutions of the module it was made from, and no new BatchNorm.

    A convolution whose result nothing uses is not in the graph, and one that is called twice on
    the same tensor is in it once: the graph may have fewer than were called, down to those that
    the traced program has of its own.

    Args:
        model: The graph.
        program: The `torch.export.ExportedProgram` that the graph was translated from.
        called: What one inference of the module calls.

    Raises:
        OnnxError: The graph has fewer or more; both counts are named.
    """
    operators = count_operators(model)
    convolutions = operators.get("Conv", 0) + operators.get("ConvTranspose", 0)
    batchnorms = operators.get("BatchNormalization", 0)
    least = min(_distinct_convolutions(program), called.convolutions)
    if not least <= convolutions <= called.convolutions or batchnorms > called.batchnorms:
        raise OnnxError(
            f"the exported graph has {convolutions} convolutions and {batchnorms} BatchNorms; the "
            f"network calls {called.convolutions} and {called.batchnorms}: this version of torch "
            f"or onnxscript rewrites the graph in a way that edgerep does not know"
        )


def require_operators(model: onnx.ModelProto, network: RepVGG, form: str) -> None:
    """Check that a RepVGG's graph has the convolutions of its form, and no more BatchNorms or adds.

    A fused graph has one convolution per block and two per squeeze-and-excitation, no BatchNorm
    and no add; an unfused one every convolution of the network and, unless folded, every BatchNorm.

    Args:
        model: The graph.
        network: What was exported.
        form: "fused", "unfused" or "unfused-folded".

    Raises:
        OnnxError: The graph has others; both counts are named.
    """
    blocks = list(network.architecture.blocks())
    gates = 2 * sum(block.squeeze for block in blocks)
    operators = [node.op_type for node in model.graph.node]
    found = {name: operators.count(name) for name in ("Conv", "BatchNormalization", "Add")}
    if form == "fused":
        wanted = {"Conv": len(blocks) + gates, "BatchNormalization": 0, "Add": 0}
    else:
        norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
        convs = sum(isinstance(m, nn.Conv2d) for m in network.modules())
        left = norms if form == "unfused" else found["BatchNormalization"]
        wanted = {"Conv": convs, "BatchNormalization": left, "Add": found["Add"]}
    if found != wanted:
        raise OnnxError(
            f"the exported {form} graph has {found} and should have {wanted}: this version of "
            f"torch or onnxscript rewrites the graph in a way that edgerep does not know"
        )


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own base
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.convolutions = self.batchnorms = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = str(func)
        self.convolutions += bool(_CONVOLUTION.match(name))
        self.batchnorms += bool(_BATCHNORM.match(name))
        return func(*args, **(kwargs or {}))


def _distinct_convolutions(program: Any) -> int:
    """How many convolutions of a program have a result that is used; the same call counts once."""
    calls = {
        (node.target, str(node.args), str(node.kwargs))
        for node in program.graph.nodes
        if node.op == "call_function" and node.users and _CONVOLUTION.match(str(node.target))
    }
    return len(calls)

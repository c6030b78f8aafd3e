"""What a run shows of a graph: sizes, whose memory a tensor shows, and who writes to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from edgerep.fusion.trace.graph_run import Recorder
from edgerep.fusion.trace.tracing import trace
from edgerep.torch_modules.arguments import arguments_of
from edgerep.torch_modules.convolution_cache import ConvolutionCache


class Held(nn.Module):
    """Code with a parameter and layers within reach."""

    mark: nn.Module
    drop: nn.Module

    def __init__(self, code: Callable[[Held, Tensor], Any]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 1 / 3))
        self.conv = nn.Conv2d(3, 3, 1)
        self.code = code

    def forward(self, x: Tensor) -> Any:
        return self.code(self, x)


class Marking(nn.Module):
    """Writes to what it is given, and cannot be recorded: it decides by the numbers."""

    def forward(self, x: Tensor) -> Tensor:
        x[0] = 5
        return x.mean() if x.sum() > 0 else x.mean() - 1


def recorded(code: Callable[[Held, Tensor], Any], **parts: nn.Module) -> tuple[Recorder, fx.Graph]:
    module = Held(code)
    for name, part in parts.items():
        module.add_module(name, part)
    image = torch.randn(2, 3, 4, 4)
    graph = trace(module, arguments_of(module, (image,), {}), [image]).graph
    recorder = Recorder(module, graph, ConvolutionCache())
    with torch.no_grad():
        recorder.run(image)
    return recorder, graph


def image(graph: fx.Graph) -> fx.Node:
    first: fx.Node = next(iter(graph.nodes))
    return first


def test_facts_are_those_of_the_run() -> None:
    recorder, graph = recorded(lambda held, x: held.conv(x).double()[:, :2])
    facts = [recorder.facts[node] for node in graph.nodes if node in recorder.facts]
    assert [fact.shape for fact in facts[:3]] == [(2, 3, 4, 4)] * 3
    assert [str(fact.dtype) for fact in facts[-2:]] == ["torch.float64"] * 2
    assert facts[3].shape == (2, 2, 4, 4)


WRITES: dict[str, Callable[[Held, Tensor], Any]] = {
    "method": lambda held, x: x.mul_(2),
    "function": lambda held, x: torch.relu_(x),
    "argument": lambda held, x: functional.relu(x, inplace=True),
    "by position": lambda held, x: functional.hardtanh(x, 0.0, 1.0, True),
    "out": lambda held, x: torch.add(x, x, out=x),
    "through a view": lambda held, x: x[:, :1].mul_(2),
    "through a view of a view": lambda held, x: x.transpose(1, 2)[0].unbind(0)[1].zero_(),
    "through detach": lambda held, x: x.detach().fill_(1),
    "through expand": lambda held, x: x.expand(2, 3, 4, 4).neg_(),
    "through data": lambda held, x: x.data.neg_(),
    "a module": lambda held, x: held.mark(x),
    "a chunk": lambda held, x: x.chunk(3, 1)[1].add_(1),
}


@pytest.mark.parametrize("code", WRITES.values(), ids=WRITES)
def test_a_write_is_seen_whatever_its_spelling(code: Callable[[Held, Tensor], Any]) -> None:
    recorder, graph = recorded(code, mark=Marking())
    (writer,) = recorder.writes
    assert recorder.writes[writer] == {image(graph)}
    assert writer is list(graph.nodes)[-2]


READS: dict[str, Callable[[Held, Tensor], Any]] = {
    "pure": lambda held, x: held.conv(x) + x.relu(),
    "a name like one": lambda held, x: x.__add__(1),
    "a copy": lambda held, x: x.clone().mul_(2),
    "a module with the option": lambda held, x: held.drop(x),
}


@pytest.mark.parametrize("code", READS.values(), ids=READS)
def test_what_only_reads_writes_to_nothing_of_the_image(
    code: Callable[[Held, Tensor], Any],
) -> None:
    recorder, graph = recorded(code, drop=nn.Dropout(inplace=True).eval())
    assert all(image(graph) not in written for written in recorder.writes.values())


def test_memory_is_that_of_whoever_made_it() -> None:
    def code(held: Held, x: Tensor) -> Tensor:
        y = torch.relu(x)
        z = y.view(2, -1).contiguous()
        return z.clone() + torch.relu_(y).flatten(1)

    recorder, _ = recorded(code)
    names = {node.name: made.name for node, made in recorder.memory.items()}
    assert names == {
        "x": "x", "relu": "relu", "view": "relu", "contiguous": "relu", "clone": "clone",
        "relu_": "relu", "flatten": "relu", "add": "add",
    }  # fmt: skip


def test_memory_that_is_used_again_is_new() -> None:
    def code(held: Held, x: Tensor) -> Tensor:
        for _ in range(6):
            x = torch.sin(x)
        return x

    recorder, graph = recorded(code)
    assert list(recorder.memory.values()) == list(graph.nodes)[:-1]

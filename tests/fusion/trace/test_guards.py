"""Nodes that only assert something of a shape are told from those that use it."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgerep.fusion.trace.guards import guards


class Asserting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.shape[1] == 3, "channels")  # type: ignore[no-untyped-call]
        size = x.size(2)
        return x * size


def test_nodes_that_only_assert_are_guards() -> None:
    names = {node.name for node in guards(fx.symbolic_trace(Asserting()).graph)}
    assert names == {"getattr_1", "getitem", "eq", "_assert"}

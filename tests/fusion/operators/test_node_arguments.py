"""A call's arguments go by name, or are refused."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from edgerep.fusion.operators.node_arguments import named_arguments


def test_arguments_go_by_name_or_are_refused() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    node = graph.call_function(torch.add, (x, 2), {"alpha": 3})
    names = ("input", "other", "alpha")
    found = named_arguments(node, names, {"alpha": 1})
    assert found == {"input": x, "other": 2, "alpha": 3}
    for few in (("input",), ("input", "other")):
        with pytest.raises(ValueError, match="add has arguments that are not known here"):
            named_arguments(node, few, {})

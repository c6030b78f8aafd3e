"""Proxies pass for tensors while code is recorded, and nothing else does, nor afterwards."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from edgerep.fusion.trace.proxies import TensorProxy, proxies_pass_for_tensors


def proxy() -> Any:
    graph = fx.Graph()
    return TensorProxy(graph.placeholder("x"), fx.proxy.GraphAppendingTracer(graph))


TENSORS: tuple[Any, ...] = (Tensor, Tensor | list, (int, (str, Tensor)))
OTHERS: tuple[Any, ...] = (list, nn.Parameter, (int, str))


def test_proxies_pass_for_tensors_within_the_context() -> None:
    one, other = proxy(), fx.Graph()
    with proxies_pass_for_tensors():
        assert all(isinstance(one, kinds) for kinds in TENSORS)
        assert torch.is_tensor(one)
        assert not any(isinstance(one, kinds) for kinds in OTHERS)
        assert not any(isinstance(other, kinds) for kinds in TENSORS)
    assert not any(isinstance(one, kinds) for kinds in TENSORS)


def test_what_isinstance_was_comes_back_after_an_error() -> None:
    before = builtins.isinstance
    with pytest.raises(ValueError, match="recorded"), proxies_pass_for_tensors():
        raise ValueError("code that cannot be recorded")
    assert builtins.isinstance is before

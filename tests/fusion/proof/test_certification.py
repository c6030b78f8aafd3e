"""The certificate reads: building has written the weights before, and it is not asked to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgerep.fusion import fused
from edgerep.fusion.proof.certificate import Certificate
from edgerep.fusion.proof.certification import certify_fusion


def network() -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    norm.running_mean = torch.randn(5)
    return nn.Sequential(nn.Conv2d(3, 5, 3), norm, nn.ReLU(), nn.Conv2d(5, 2, 1)).eval()


def test_the_numbers_are_the_same_whether_or_not_they_are_proven() -> None:
    inputs = torch.randn(1, 3, 8, 8)
    proven, unproven = (
        fused.fuse(network(), inputs=inputs, certify=certify).module for certify in (True, False)
    )
    for name, tensor in proven.state_dict().items():
        assert torch.equal(tensor, unproven.state_dict()[name])
    assert torch.allclose(unproven(inputs), network()(inputs), atol=1e-5)


def test_nothing_is_written_while_the_certificate_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []

    def watched(model: nn.Module, module: nn.Module, *others: Any) -> Certificate:
        tensors = [*model.state_dict().values(), *module.state_dict().values()]
        before = [tensor._version for tensor in tensors]
        made = certify_fusion(model, module, *others)
        writes.extend(t._version - b for t, b in zip(tensors, before, strict=True))
        return made

    monkeypatch.setattr(fused, "certify_fusion", watched)
    fused.fuse(network(), inputs=torch.randn(1, 3, 8, 8))
    assert len(writes) == 13
    assert not any(writes)

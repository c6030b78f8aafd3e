"""One small network in everything that people put around a network, or do to its weights."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from edgerep.networks.layers import randomised


def plain() -> nn.Module:
    return randomised(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)
        )
    )


def on_first(change: Callable[[nn.Module], object]) -> nn.Module:
    network = plain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the older of its two ways
        change(network.get_submodule("0"))
    return network.eval()


def with_hooks() -> nn.Module:
    """One hook that watches, and one that is part of what the network computes."""
    network = plain()
    network.get_submodule("0").register_forward_hook(lambda part, args, output: None)
    network.get_submodule("2").register_forward_hook(lambda part, args, output: output * 2)
    return network


def with_attributes() -> nn.Module:
    """What cannot be copied: a lock, and a tensor that was computed from parameters."""
    network = plain()
    first = network.get_submodule("0")
    assert isinstance(first.weight, Tensor)
    vars(network).update(lock=threading.Lock(), scale=first.weight.sum())
    return network


def compiled_in_place() -> nn.Module:
    network = plain()
    network.compile()
    return network


def forward_compiled() -> nn.Module:
    network: Any = plain()
    network.forward = torch.compile(network.forward)
    return network  # type: ignore[no-any-return]


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return plain_unset()


def plain_unset() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(  # type: ignore
            nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).eval()
        )


TAKEN: Mapping[str, Callable[[], nn.Module]] = {
    "half": lambda: plain().half(),
    "bfloat16": lambda: plain().bfloat16(),
    "double": lambda: plain().double(),
    "compiled": lambda: torch.compile(plain()),  # type: ignore
    "compiled in place": compiled_in_place,
    "forward compiled": forward_compiled,
    "parallel inside": lambda: nn.Sequential(nn.DataParallel(plain()), nn.ReLU()).eval(),
    "parallel": lambda: nn.DataParallel(plain()).train(),
    "compiled parallel": lambda: torch.compile(nn.DataParallel(plain())),  # type: ignore
    "weight norm by hooks": lambda: on_first(weight_norm),
    "weight norm": lambda: on_first(parametrizations.weight_norm),
    "spectral norm by hooks": lambda: on_first(spectral_norm),
    "spectral norm": lambda: on_first(parametrizations.spectral_norm),
    "pruned": lambda: on_first(lambda part: prune.l1_unstructured(part, "weight", amount=0.3)),  # type: ignore[no-untyped-call]
    "hooks": with_hooks,
    "training": lambda: plain().train(),
}
REFUSED: Mapping[str, tuple[Callable[[], nn.Module], str]] = {
    "on the meta device": (on_meta, "weights are on the meta device"),
    "quantised": (quantised, "give the float network"),
    "scripted": (lambda: torch.jit.script(plain()), "is TorchScript"),
    "traced": (lambda: torch.jit.trace(plain(), torch.ones(1, 3, 8, 8)), "is TorchScript"),  # type: ignore
    "scripted inside": (
        lambda: nn.Sequential(torch.jit.script(plain()), nn.ReLU()).eval(),
        r"has TorchScript inside \(0\)",
    ),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(8, 3)), "shapes that are not decided yet"),
}

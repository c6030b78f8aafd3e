"""timm's networks, also where torchvision is missing: only timm's data loading needs that."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any

_UNUSED = (
    "torchvision", "torchvision.datasets", "torchvision.ops", "torchvision.ops.misc",
    "torchvision.transforms", "torchvision.transforms.functional",
)  # fmt: skip


class _Anything(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _StandIn(types.ModuleType):
    """A module in which every name is some class: it can be imported from, and computes nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


def import_timm() -> Any:
    """timm, its networks and converters its own.

    Raises:
        ImportError: It is not installed.
    """
    if importlib.util.find_spec("timm") is None:
        raise ImportError("timm is not installed: pip install --no-deps timm pillow")
    if importlib.util.find_spec("torchvision") is None:
        for name in _UNUSED:
            module = _StandIn(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            sys.modules[name] = module
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)
    return importlib.import_module("timm")

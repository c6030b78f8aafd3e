"""Arguments of MIL operations as kernels want them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Arguments: TypeAlias = Mapping[str, Any]


def tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))


def ints(value: Any) -> list[int]:
    return [int(number) for number in np.asarray(value).reshape(-1)]


def flags(value: Any, count: int) -> list[bool]:
    """A mask as one flag for each of `count` dimensions; an absent one is all False."""
    found = [] if value is None else [bool(flag) for flag in np.asarray(value).reshape(-1)]
    return found or [False] * count

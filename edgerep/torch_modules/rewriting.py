"""Networks whose `forward` puts other numbers into their own parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgerep.torch_modules.copies import state_kept


def rewritten_by_a_run(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[str, ...]:
    """The parameters and buffers to whose `.data` a run assigns; afterwards they are as before.

    torch's exporter would assign its own placeholders, into the network that was given.
    """
    with state_kept(module), torch.no_grad():
        held = [*module.named_parameters(), *module.named_buffers()]
        before = [tensor.detach() for _, tensor in held]
        module(*inputs)
        return tuple(
            name
            for (name, tensor), old in zip(held, before, strict=True)
            if tensor.data_ptr() != old.data_ptr()
        )

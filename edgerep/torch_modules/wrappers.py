"""What stands around a network and computes nothing; and modules that are no plain networks."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgerep.torch_modules.copies import shared_copy
from edgerep.torch_modules.tree import every_path, tensors_of

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.ao.nn.sparse")
_FOREIGN_TENSORS = ("torchao", "bitsandbytes", "torch.distributed")
_SHOWN = 3


def innermost(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The network inside DataParallel, DistributedDataParallel and torch.compile, and those names.

    Each hands its inputs to the network and the network's outputs back, so nothing is lost.
    """
    taken: list[str] = []
    while True:
        if isinstance(module, _PARALLEL):
            taken.append(type(module).__name__)
            module = module.module
        elif type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules:
            # Its class stands in torch's compiler, which takes a second to import.
            taken.append("torch.compile")
            inner = module._modules["_orig_mod"]
            assert inner is not None
            module = inner
        else:
            return module, tuple(taken)


def unwrapped_inside(module: nn.Module) -> nn.Module:
    """A network whose parts are neither wrapped nor compiled: a copy that shares its tensors.

    The network itself where there is nothing to take off.
    """
    if not any(_is_wrapped(part) for part in module.modules()):
        return module
    twin = shared_copy(module)
    for part in twin.modules():
        part._compiled_call_impl = None
        state = vars(part)
        if hasattr(state.get("forward"), "_torchdynamo_orig_callable"):
            original = state["forward"]._torchdynamo_orig_callable
            if getattr(original, "__func__", None) is type(part).forward:
                del state["forward"]
            else:
                state["forward"] = original
        for name, child in part._modules.items():
            if child is not None:
                part._modules[name] = innermost(child)[0]
    return twin


def _is_wrapped(part: nn.Module) -> bool:
    return (
        part._compiled_call_impl is not None
        or hasattr(vars(part).get("forward"), "_torchdynamo_orig_callable")
        or any(child is not None and innermost(child)[1] for child in part._modules.values())
    )


def why_unusable(module: nn.Module) -> str | None:
    """What makes a module no network with weights and code of its own, and the remedy; or None."""
    if isinstance(module, torch.jit.ScriptModule):
        return (
            "is TorchScript, a compiled program instead of a network's own code: give the network "
            "that was traced or scripted"
        )
    if scripts := _scripts_in(module):
        return (
            f"has TorchScript inside ({_listed(scripts)}), compiled programs instead of "
            f"code of its own: put the networks there that were traced or scripted"
        )
    if "FullyShardedDataParallel" in (kinds := {type(part).__name__ for part in module.modules()}):
        return "is spread over processes by FullyShardedDataParallel: gather its state_dict first"
    if lazy := [key for key, tensor in module.state_dict().items() if is_lazy(tensor)]:
        return f"has shapes that are not decided yet ({_listed(lazy)}): run it once before"
    quantised = [path for path, part in every_path(module) if _is_quantised(part)]
    if quantised or "QuantStub" in kinds:
        where = f" ({_listed(quantised)})" if quantised else ""
        return (
            f"is quantised or prepared for it by torch{where}: give the float network that it was "
            f"made from"
        )
    if any(tensor.is_meta for tensor in tensors_of(module)):
        return (
            "has no values yet, its weights are on the meta device: load them, or build it on the "
            "CPU"
        )
    return None


def _scripts_in(module: nn.Module) -> list[str]:
    """Paths of the parts that are TorchScript, without what those hold."""
    found: list[str] = []
    for path, part in every_path(module):  # outer ones first
        is_within = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(part, torch.jit.ScriptModule) and not is_within:
            found.append(path)
    return found


def _is_quantised(part: nn.Module) -> bool:
    return (
        type(part).__module__.startswith(_QUANTISED)
        or type(part).__name__ in ("FakeQuantize", "FusedMovingAvgObsFakeQuantize")
        or any(_is_odd(tensor) for table in (part._parameters, part._buffers)
               for tensor in table.values() if tensor is not None)
    )  # fmt: skip


def _is_odd(tensor: Tensor) -> bool:
    return tensor.is_quantized or _is_foreign(type(tensor))


@functools.cache
def _is_foreign(kind: type) -> bool:
    return kind.__module__.startswith(_FOREIGN_TENSORS)


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(path or "itself" for path in paths[:_SHOWN]) + more

"""A network of the user's own: built by their code, weights from a checkpoint or as built."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgerep.checkpoints.reading import Checkpoint, read_checkpoint
from edgerep.checkpoints.spelling import unwrapped_name
from edgerep.checkpoints.state_dict_checks import (
    is_counter,
    require_same_tensors,
    require_sound_values,
)
from edgerep.errors import CheckpointError, NetworkError, OptionError, given, line_of
from edgerep.networks.admission import admitted, own_float32
from edgerep.networks.network import Origin, set_origin
from edgerep.torch_modules.global_state import torch_state_kept
from edgerep.torch_modules.wrappers import innermost

AS_BUILT = "-"  # in place of a checkpoint: the weights that the callable gave the network


def own_network(
    model: str | Callable[[], nn.Module], source: str | Path, *, bn_eps: float | None = None
) -> nn.Module:
    """Build a network by calling `model`, and give it the weights of `source`.

    Args:
        model: What builds the network without arguments, or its place, "package.module:callable".
            For a place the current directory is put on the path of imports, as `python -m` does,
            and stays there: the network may import more when it runs.
        source: A checkpoint, or "-" for the weights that the callable gave the network.
        bn_eps: eps of every BatchNorm; None leaves each its own.

    Returns:
        The network in eval mode on the CPU; `origin_of` knows where it came from.

    Raises:
        CheckpointError: The checkpoint is unreadable, unsafe or of another network: every missing,
            unexpected and misshapen tensor is listed, and every one with NaN or infinity.
        NetworkError: The callable cannot be imported, or does not build a network.
        OptionError: `model` is malformed.
    """
    if isinstance(model, nn.Module) or not (isinstance(model, str) or callable(model)):
        raise OptionError(
            f'`model` is what builds the network, a callable or "package.module:callable", and '
            f"{given(model)}"
        )
    name = model if isinstance(model, str) else _name_of(model)
    module, said = _built(name, _imported(model) if isinstance(model, str) else model)
    if bn_eps is not None:
        for part in module.modules():
            if isinstance(part, _BatchNorm):
                part.eps = bn_eps
    if str(source) == AS_BUILT:
        _require_sound_values(module, name)
        origin = Origin(name, None, "own network, weights as it builds them", said, network=name)
        set_origin(module, origin)
        return module
    checkpoint = read_checkpoint(Path(source))
    notes = [*said, *checkpoint.notes, *_load_weights(module, checkpoint, name)]
    _require_sound_values(module, checkpoint.path.name)
    origin = Origin(
        checkpoint.path.name, checkpoint.sha256, f"own network {name}", tuple(notes), network=name
    )
    set_origin(module, origin)
    return module


def _imported(spec: str) -> Callable[[], nn.Module]:
    place, colon, attribute = spec.partition(":")
    parts = [*place.split("."), *attribute.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise OptionError(f"{spec!r} is not package.module:callable, such as mynets.detector:build")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if place == missing or place.startswith(f"{missing}."):
            raise NetworkError(
                f"{spec}: there is no module `{missing}` to import, neither installed nor in {here}"
            ) from error
        raise NetworkError(
            f"{spec}: {place} needs the package `{missing}`, which is not installed"
        ) from error
    except (Exception, SystemExit) as error:  # whatever a user's module does when it is imported
        raise NetworkError(f"{spec}: importing {place} fails: {line_of(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            inside = getattr(found, "__dict__", {})
            there = ", ".join(n for n, v in inside.items() if _is_builder(n, v, place))
            raise NetworkError(
                f"{spec}: there is no `{part}`; {place} has {there or 'no callable'}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise NetworkError(
            f"{spec} is a {type(found).__name__}, not a callable that builds a network"
        )
    if isinstance(found, nn.Module):
        raise NetworkError(
            f"{spec} is a network already, and calling it would run it: name a function that "
            f"returns it"
        )
    return found


def _is_builder(name: str, value: object, place: str) -> bool:
    return (
        not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == place
    )


def _built(name: str, build: Callable[[], nn.Module]) -> tuple[nn.Module, tuple[str, ...]]:
    """The network, nobody else's, in eval mode; what was changed on the way, for people."""
    try:
        with torch_state_kept():
            made = build()
    except (Exception, SystemExit) as error:  # whatever a user's own code raises
        raise NetworkError(
            f"calling {name} without arguments fails: {line_of(error)}. It has to build the "
            f"network by itself: mend it there, or name another callable"
        ) from error
    if not isinstance(made, nn.Module):
        raise NetworkError(f"{name} built no torch.nn.Module: it returned {type(made).__name__}")
    inner, wrappers = innermost(made)
    module, notes = own_float32(admitted(inner, f"the network that {name} returns"))
    return module.eval(), (*(f"{one} around the network taken off" for one in wrappers), *notes)


def _load_weights(module: nn.Module, checkpoint: Checkpoint, name: str) -> list[str]:
    """Copy a checkpoint's tensors into the network; what was converted on the way, for people."""
    wanted = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    bare = _bare_names(wanted, checkpoint.tensors)  # the network's own names to the checkpoint's
    given = {
        key: checkpoint.tensors[bare[key]] for key in wanted if bare[key] in checkpoint.tensors
    }
    known = set(bare.values())
    require_same_tensors(
        wanted,
        given,
        f"{checkpoint.path.name} does not hold the weights of {name}; nothing was loaded",
        strangers={key: one for key, one in checkpoint.tensors.items() if key not in known},
    )
    counters = {key: wanted[key] for key in filter(is_counter, wanted)}
    try:
        module.load_state_dict({**counters, **given}, strict=False)
    except Exception as error:  # hooks of a user's own module
        raise CheckpointError(
            f"{checkpoint.path.name}: {name} does not take its weights: {line_of(error)}"
        ) from error
    types = {
        f"{str(tensor.dtype).removeprefix('torch.')} weights of {checkpoint.path.name} read as "
        f"{str(wanted[key].dtype).removeprefix('torch.')}"
        for key, tensor in given.items()
        if tensor.dtype != wanted[key].dtype and not is_counter(key)
    }
    return sorted(types)


def _bare_names(wanted: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> dict[str, str]:
    """From each of the network's names to what reading a checkpoint would leave of it.

    Reading removes the names of wrappers, and a prefix such as `backbone.` that every key has: a
    network whose every key begins like that has it in its own names too.
    """
    plain = {key: unwrapped_name(key).split(".") for key in wanted}
    alike = itertools.takewhile(
        lambda parts: len(set(parts)) == 1, zip(*(p[:-1] for p in plain.values()), strict=False)
    )
    depths = range(sum(1 for _ in alike) + 1)
    candidates = [{key: ".".join(p[depth:]) for key, p in plain.items()} for depth in depths]
    return max(candidates, key=lambda names: len(there.keys() & names.values()), default={})


def _require_sound_values(module: nn.Module, source: str) -> None:
    tensors = {k: value for k, value in module.state_dict().items() if isinstance(value, Tensor)}
    require_sound_values(
        tensors,
        f"{source} cannot be a trained network",
        eps={
            f"{path}.running_var".lstrip("."): part.eps
            for path, part in module.named_modules()
            if isinstance(part, _BatchNorm)
        },
        may_be_infinite=tensors.keys() - {name for name, _ in module.named_parameters()},
    )


def _name_of(build: Callable[[], nn.Module]) -> str:
    name = getattr(build, "__qualname__", type(build).__qualname__)
    return f"{getattr(build, '__module__', '?')}:{name}"

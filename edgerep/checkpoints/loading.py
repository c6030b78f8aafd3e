"""From a checkpoint file, or the name of an architecture, to a network in eval mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import overload

import torch
from torch import nn

from edgerep.checkpoints.architecture_detection import recognise
from edgerep.checkpoints.format_detection import identify
from edgerep.checkpoints.reading import Checkpoint, read_checkpoint
from edgerep.checkpoints.state_dict_checks import (
    WEIGHT_TYPES,
    is_counter,
    require_same_tensors,
    require_sound_values,
)
from edgerep.checkpoints.user_network import AS_BUILT, own_network
from edgerep.errors import CheckpointError, OptionError, path_given
from edgerep.networks.layers import BATCHNORM_EPS
from edgerep.networks.network import Network, Origin
from edgerep.networks.published import build_network, random_network
from edgerep.networks.variants import PUBLISHED, variant_named


@overload
def load(source: str | Path, *, model: None = None, bn_eps: float | None = None) -> Network: ...


@overload
def load(
    source: str | Path,
    *,
    model: str | Callable[[], nn.Module] | None,
    bn_eps: float | None = None,
) -> nn.Module: ...


def load(
    source: str | Path,
    *,
    model: str | Callable[[], nn.Module] | None = None,
    bn_eps: float | None = None,
) -> nn.Module:
    """Load a network; its architecture is inferred from the tensors, or built by `model`.

    Args:
        source: A checkpoint (`.pth`, `.pt`, `.ckpt`, `.bin`, `.safetensors`) of a RepVGG,
            RepVGGplus or MobileOne in a format of `edgerep.checkpoints.formats.FORMATS`, in train
            form, fused form or partly fused; or the name of a published variant (`repvgg_a0`,
            `mobileone_s1`), which gives random weights. With `model`, any checkpoint of that
            network, or "-" for its weights as they were built.
        model: Your own network: what builds it, called without arguments, or its name as
            "package.module:callable", which is imported: that runs the module's code.
        bn_eps: eps of every BatchNorm. A `state_dict` does not carry it; None is 1e-5, and with
            `model` whatever each BatchNorm has.

    Returns:
        The network in eval mode on the CPU; `origin_of` knows where it came from. Without
        `model` it is in float32 and has a `title`.

    Raises:
        CheckpointError: The file is unreadable, unsafe, or not a complete network (or not the
            one that `model` builds): every missing, unexpected and misshapen tensor is listed,
            and every tensor with NaN or infinity.
        NetworkError: `model` cannot be imported, or does not build a network.
        OptionError: `bn_eps` is negative or not finite, `model` is malformed, or `source` is "-"
            without `model`.
    """
    if bn_eps is not None and not 0 <= bn_eps < math.inf:
        raise OptionError(f"BatchNorm eps must be finite and not negative, and {bn_eps} is not")
    path = path_given(source, "`source` is the path of a checkpoint, or a network's name")
    if model is not None:
        return own_network(model, source, bn_eps=bn_eps)
    if str(source) == AS_BUILT:
        raise OptionError(f"{source} stands for the weights that --model builds: give a --model")
    bn_eps = BATCHNORM_EPS if bn_eps is None else bn_eps
    if not path.exists():
        if architecture := variant_named(str(source)):
            return random_network(architecture, eps=bn_eps)
        if not path.suffix:
            raise CheckpointError(
                f"{source} is neither a file nor a published network: {', '.join(PUBLISHED)}"
            )
    return network_of(read_checkpoint(path), bn_eps=bn_eps)


def network_of(checkpoint: Checkpoint, *, bn_eps: float = BATCHNORM_EPS) -> Network:
    """The network whose weights a checkpoint holds, in eval mode, in float32 and on the CPU.

    Args:
        checkpoint: Of a RepVGG, RepVGGplus or MobileOne.
        bn_eps: eps of every BatchNorm.

    Raises:
        CheckpointError: The tensors are in no format that edgerep knows, or are not a complete
            network: every missing, unexpected and misshapen tensor is listed, and every tensor
            with NaN or infinity.
    """
    name = checkpoint.path.name
    found = identify(checkpoint.tensors, name)
    recognised = recognise(found, name)
    with torch.device("meta"):
        model = build_network(recognised.architecture, plain=recognised.plain, eps=bn_eps)
    require_same_tensors(
        model.state_dict(),
        {key: tensor for key, tensor in found.tensors.items() if not is_counter(key)},
        f"{name} is not a complete {model.architecture.name}; nothing was loaded",
        spell=found.spell,
    )
    require_sound_values(
        found.tensors,
        f"{name} cannot be a trained network; nothing was loaded",
        eps={key: bn_eps for key in found.tensors if key.endswith("running_var")},
        types=WEIGHT_TYPES,
        spell=found.spell,
    )
    notes = [*checkpoint.notes, *found.notes]
    narrow = sorted({str(t.dtype).removeprefix("torch.") for t in found.tensors.values()}
                    - {"float32", "int64"})  # fmt: skip
    if narrow:
        notes.append(f"{', '.join(narrow)} weights read as float32")
    counters = {
        key: torch.zeros((), dtype=torch.int64) for key in filter(is_counter, model.state_dict())
    }
    weights = {
        key: tensor.float().contiguous()
        for key, tensor in found.tensors.items()
        if key not in counters
    }
    model.load_state_dict({**counters, **weights}, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.origin = Origin(
        name, checkpoint.sha256, f"{found.written_by.title}, {recognised.form} form", tuple(notes)
    )
    return model.eval()

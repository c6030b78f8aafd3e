"""What `verify` is given to compare, each as a `Runnable` at the shapes that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from edgerep.artefacts.kinds import kind_of
from edgerep.artefacts.records import read_record
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.runnables import open_runnable, runnable_module
from edgerep.checkpoints.loading import load
from edgerep.checkpoints.reading import read_checkpoint
from edgerep.checkpoints.state_dict_checks import is_counter, require_same_tensors
from edgerep.commands.shared.console import Console
from edgerep.commands.shared.stages import EXAMPLES
from edgerep.errors import OptionError
from edgerep.fusion.fused import fuse
from edgerep.networks.examples import example_inputs
from edgerep.networks.interface import InputShapes, interface_of
from edgerep.networks.network import form_of

_SIDE = 224  # of an image for weights of an own network, where no shape is given


def runnable_at(
    path: Path, network: nn.Module | None, shapes: InputShapes | None, console: Console
) -> Runnable:
    """An artefact to compare.

    Args:
        path: Of the artefact. Fused weights of an own network are put into `network`, fused again.
        network: The own network that `--model` builds; None without one.
        shapes: What it is to be compared at; None for what the artefact says itself.
        console: Told what is done.

    Raises:
        EdgerepError: The artefact cannot be read or run.
        OptionError: The shapes are not those of the artefact.
    """
    if kind_of(path) == "weights":
        record = read_record(path)
        if network is not None and record and any(one.get("network") for one in record.made_from):
            return _own_weights(path, network, shapes, console)
        if shapes is not None:
            model = load(path)
            return runnable_module(model, form=form_of(model), size=_SIDE, shapes=shapes, path=path)
        return open_runnable(path)
    runnable = open_runnable(path)
    if shapes is not None:
        _require_these(runnable, shapes)
    return runnable


def _own_weights(
    path: Path, network: nn.Module, shapes: InputShapes | None, console: Console
) -> Runnable:
    console.doing("fuse", f"fusing the network again, for the weights of {path.name}")
    specs = interface_of(network, size=_SIDE, shapes=shapes)
    fused = fuse(network, inputs=example_inputs(network, [(EXAMPLES, *s.shape) for s in specs]))
    there = read_checkpoint(path).tensors
    require_same_tensors(
        fused.module.state_dict(),
        {name: tensor for name, tensor in there.items() if not is_counter(name)},
        f"{path} does not hold the weights of this network, fused",
    )
    fused.module.load_state_dict(dict(there), strict=False)  # all that counts is there
    return runnable_module(
        fused.module, form="fused", size=_SIDE, shapes=shapes, known=fused.inputs,
        origin=fused.origin, path=path,
    )  # fmt: skip


def _require_these(runnable: Runnable, shapes: InputShapes) -> None:
    found = {spec.name: tuple(spec.shape[1:]) for spec in runnable.inputs}
    if isinstance(shapes, Mapping):
        same = found == {name: tuple(shape) for name, shape in shapes.items()}
    else:
        same = list(found.values()) == [tuple(shape) for shape in shapes]
    if not same:
        takes = ", ".join(f"{name}={'x'.join(map(str, shape))}" for name, shape in found.items())
        raise OptionError(
            f"{runnable.title} takes {takes}: --input-shape says something else, and only weights "
            f"can be compared at a shape of your choice"
        )

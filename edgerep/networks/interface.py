"""What a network takes and gives: its inputs by name and shape, its outputs in one flat order."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves  # the order in which torch.onnx.export flattens too

from edgerep.errors import NetworkError, OptionError
from edgerep.networks.examples import image_channels

InputShapes: TypeAlias = Sequence[Sequence[int]] | Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class InputShape:
    """One input of a network: its name in the signature of `forward`, its shape less the batch."""

    name: str
    shape: tuple[int, ...]

    @property
    def is_image(self) -> bool:
        """Whether it is [C, H, W]."""
        return len(self.shape) == 3


def interface_of(
    module: nn.Module,
    *,
    size: int | tuple[int, int],
    channels: int | None = None,
    shapes: InputShapes | None = None,
    known: Sequence[Tensor] = (),
) -> tuple[InputShape, ...]:
    """The inputs of a network, in the order of `forward`.

    Args:
        module: The network.
        size: Height and width of the image, where one image is all that it takes.
        channels: Of that image; if omitted, as the network says, or those of its first
            convolution.
        shapes: One per input, without the batch, in the order of `forward` or by the name of its
            parameter; None for one image.
        known: Inputs that the network was run on, the batch first; only used where `shapes` is
            None. Of one image [N, C, H, W] only the channels count; any other inputs have the
            shapes that the network takes.

    Raises:
        OptionError: A shape is not positive, a name is no parameter of `forward`, there are more
            or fewer shapes than `forward` takes, both `channels` and `shapes` are given, or
            `forward` has a keyword that must be given.
    """
    _require_numbers(size, channels, shapes)
    if shapes is None:
        if known and (len(known) > 1 or known[0].ndim != 4):
            given: InputShapes = [tuple(tensor.shape[1:]) for tensor in known]
        else:
            height, width = (size, size) if isinstance(size, int) else size
            channels = channels or (known[0].shape[1] if known else image_channels(module))
            given = [(channels, height, width)]
    elif channels is not None:
        raise OptionError("`channels` and `input_shapes` say the same thing: give one of them")
    elif any(isinstance(part, int) for part in shapes):
        raise OptionError(f"{shapes}: give one shape for each input, such as [(3, 224, 224)]")
    else:
        given = shapes
    names, required = _parameters(module, len(given))
    if isinstance(given, Mapping):
        ordered = _by_name(module, given, names)
    else:
        ordered = [tuple(shape) for shape in given]
    wrong = [shape for shape in ordered if not shape or min(shape) < 1]
    if wrong or not ordered:
        found = ", ".join(map(_text, wrong)) or "no shape at all"
        raise OptionError(f"{found}: shapes of inputs are positive numbers, without the batch")
    if not required <= len(ordered) <= len(names):
        count = f"{required}" if required == len(names) else f"{required} to {len(names)}"
        raise OptionError(
            f"{type(module).__name__}.forward takes {count} input(s) ({', '.join(names)}), and "
            f"{len(ordered)} shape(s) are known ({', '.join(map(_text, ordered))}): give each with "
            f"--input-shape NAME=..., or `input_shapes`"
        )
    return tuple(InputShape(name, shape) for name, shape in zip(names, ordered, strict=False))


def _require_numbers(size: object, channels: object, shapes: object) -> None:
    """Refuse what is no size, no number of channels or no shapes."""
    sides = (size,) if isinstance(size, int) else size
    if not _is_whole(sides) or len(sides) > 2 or (isinstance(size, tuple) and len(sides) != 2):  # type: ignore[arg-type]
        raise OptionError(f"size {size!r} is neither a number of pixels nor (height, width)")
    if channels is not None and not _is_whole((channels,)):
        raise OptionError(f"channels {channels!r} is no whole number")
    if shapes is None:
        return
    each = list(shapes.values()) if isinstance(shapes, Mapping) else shapes
    if not isinstance(each, list | tuple) or not all(
        isinstance(one, int) or _is_whole(one) for one in each
    ):
        raise OptionError(
            f"input_shapes {shapes!r}: give one shape of whole numbers for each input, such as "
            f"[(3, 224, 224)]"
        )


def _is_whole(sides: object) -> bool:
    return isinstance(sides, list | tuple) and all(
        isinstance(side, int) and not isinstance(side, bool) for side in sides
    )


def starred_place(module: nn.Module) -> int | None:
    """The place among `forward`'s parameters of the `*parameter`; None where there is none."""
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    starred = inspect.Parameter.VAR_POSITIONAL
    return kinds.index(starred) if starred in kinds else None


def flat_outputs(outputs: object) -> tuple[Tensor, ...]:
    """The tensors that a network returned, out of tuples, lists and dictionaries.

    The order is that of torch's pytrees: depth first, dictionaries by insertion. None is left out.

    Raises:
        NetworkError: Something else than tensors is among them, or there is no tensor.
    """
    leaves = [leaf for leaf in tree_leaves(outputs) if leaf is not None]
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    if not tensors or len(tensors) < len(leaves):
        found = sorted({type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)})
        raise NetworkError(
            f"the network returned a {' and a '.join(found) or 'structure without a tensor'}: "
            f"edgerep takes tensors, and tuples, lists and dictionaries of them; wrap the network "
            f"in one that returns those"
        )
    return tensors


def output_names(outputs: Sequence[int], inputs: Sequence[InputShape]) -> tuple[str, ...]:
    """Names for the outputs, given how many dimensions each has.

    A classifier, one image [N, C, H, W] to one [N, classes], gives `logits`; any other network
    `output_0`, `output_1`, ..., or another stem where an input is named like that.
    """
    if is_classifier(outputs, inputs):
        return ("logits",)
    taken = {spec.name for spec in inputs}
    stem = next(
        s for s in ("output", "result", "answer") if not any(n.startswith(s) for n in taken)
    )
    return tuple(f"{stem}_{index}" for index in range(len(outputs)))


def is_classifier(outputs: Sequence[int], inputs: Sequence[InputShape]) -> bool:
    """Whether a network takes one image and gives one row of numbers for it.

    Args:
        outputs: How many dimensions each output has, the batch included.
        inputs: What the network takes.
    """
    return len(inputs) == 1 and inputs[0].is_image and list(outputs) == [2]


def _parameters(module: nn.Module, count: int) -> tuple[list[str], int]:
    """Names of the parameters that inputs can go to, and how many of them must be given."""
    names: list[str] = []
    required = 0
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{index}" for index in range(count - len(names))]
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if parameter.default is inspect.Parameter.empty:
                raise OptionError(
                    f"{type(module).__name__}.forward cannot do without the keyword "
                    f"`{parameter.name}`: inputs are given by position; wrap the network"
                )
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            names.append(parameter.name)
            required += parameter.default is inspect.Parameter.empty
    return names, required


def _by_name(
    module: nn.Module, shapes: Mapping[str, Sequence[int]], names: Sequence[str]
) -> list[tuple[int, ...]]:
    wanted = list(names[: len(shapes)])
    if set(shapes) != set(wanted):
        raise OptionError(
            f"{type(module).__name__}.forward takes {', '.join(names) or 'nothing'}; shapes were "
            f"given for {', '.join(shapes)}: name its parameters, none left out before the last"
        )
    return [tuple(shapes[name]) for name in wanted]


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "(nothing)"

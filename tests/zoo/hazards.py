"""Tiny networks whose Python misleads a tracer, or a rewriter of what was traced.

What each must come to is the same for all: a fused network that computes what the original does,
or one in which the part concerned is left as it was. Never another answer, and never an error.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from zoo.parts import conv_bn

C = 6  # channels of every inner tensor
SHAPES = ((2, 3, 12, 12), (3, 3, 9, 13))  # traced, other


class TwoBranches(nn.Module):
    """What most hazards are made of: a stem, and two branches to be summed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, C, 1)
        self.a = conv_bn(C, C, 3)
        self.b = conv_bn(C, C, 1)


class AliasedSum(TwoBranches):
    """`+=` on a tensor that an Identity handed through: the stem's output changes with it."""

    def __init__(self) -> None:
        super().__init__()
        self.identity = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.identity(x)
        y += self.a(x)
        out: Tensor = functional.relu(x) + y
        return out


class ViewMutated(TwoBranches):
    """Half of the channels is doubled through a view, between the branches and their sum."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        a = self.a(x)
        x[:, : C // 2].mul_(2)
        y: Tensor = a + self.b(x) + x
        return y


class BaseMutated(TwoBranches):
    """Both branches have read x when it changes: their fused kernel must read the old one."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        a, b = self.a(x), self.b(x)
        x.mul_(-3)
        y: Tensor = functional.relu(a + b) + x
        return y


class InplaceReluOnSharedSum(TwoBranches):
    """The sum has a second reader, which sees what the ReLU left."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.c = conv_bn(C, C, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        total = self.a(x) + self.b(x)
        y: Tensor = self.c(self.relu(total)) + total
        return y


class ItemAssignment(TwoBranches):
    """One row of the sum is overwritten by a constant."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.a(x) + self.b(x)
        y[:, :, 0] = 1.5
        return y


class TypeBranch(TwoBranches):
    """Lists are summed, a tensor is not: a tracer's stand-in is neither."""

    def forward(self, x: Tensor | list[Tensor]) -> Tensor:
        x = self.stem(x) if isinstance(x, Tensor) else self.stem(x[0]) + x[1]
        y: Tensor = self.a(x) + self.b(x)
        return y


class CachedInATable(TwoBranches):
    """Keeps what it computes from its weights by device, as LeViT does; in the type of the run."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1, C, 1, 1))
        self.known: dict[str, Tensor] = {}
        self.seen: list[int] = []
        self.last: Tensor | None
        self.register_buffer("last", None)
        self.count: Tensor
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        self.count += 1
        offset = self.known.setdefault(str(x.device), self.offset * 2)
        x = self.stem(x)
        self.last = offset.detach()
        y: Tensor = functional.relu(self.a(x) + self.b(x)) + offset
        return y


class AskedInOtherWords(TwoBranches):
    """As `TypeBranch`, asked of a union, of torch, and of a parameter."""

    def forward(self, x: Tensor | list[Tensor]) -> Tensor:
        if isinstance(x, Tensor | nn.Parameter) and torch.is_tensor(x):
            x = self.stem(x)
        if isinstance(x, nn.Parameter | list | nn.Buffer):
            return torch.zeros(())
        y: Tensor = self.a(x) + self.b(x)
        return y


class ExplainedAssertion(nn.BatchNorm2d):
    """Looks at the input's shape once to check it, and once more for the message."""

    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.ndim == 4, f"a tensor of {x.ndim} axes")  # type: ignore[no-untyped-call]
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class Squeezed(TwoBranches):
    """Pools windows of the image's own size: what torch's C++ code gets is no number yet."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        _, _, height, width = x.size()
        mean = functional.avg_pool2d(x, kernel_size=[height, width])
        some = functional.avg_pool2d(x, kernel_size=x.size(2))
        y: Tensor = (self.a(x) + self.b(x)) * torch.sigmoid(mean) + some.mean()
        return y


class GivenASize(nn.Module):
    """A block is told the image's size, and a factor, as numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, C, 1)
        self.block = Resized()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(self.stem(x), x.shape[2:], (x.size(2) // 2, x.shape[3]))
        return y


class Resized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = conv_bn(C, C, 3)
        self.b = conv_bn(C, C, 1)

    def forward(self, x: Tensor, whole: torch.Size, half: tuple[int, int]) -> Tensor:
        y = functional.interpolate(self.a(x) + self.b(x), size=half)
        return functional.interpolate(y, size=whole)


class GrowingList(nn.Module):
    """Each layer is given the list of all tensors so far, which grows after the call."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, C, 1)
        self.layers = nn.ModuleList(Joining(C * count) for count in (1, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        tensors = [self.stem(x)]
        for layer in self.layers:
            tensors.append(layer(tensors))
        return torch.cat(tensors, 1)


class Joining(nn.Module):
    """A block of a list of tensors; `collect` adds the result to the list itself."""

    def __init__(self, channels: int, *, collect: bool = False) -> None:
        super().__init__()
        self.a = conv_bn(channels, C, 3)
        self.b = conv_bn(channels, C, 1)
        self.collect = collect

    def forward(self, tensors: list[Tensor]) -> Tensor:
        x = torch.cat(tensors, 1)
        y: Tensor = functional.relu(self.a(x) + self.b(x))
        if self.collect:
            tensors.append(y)
        return y


class ListOfACallee(nn.Module):
    """A block writes to the list that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, C, 1)
        self.first = Joining(C, collect=True)
        self.second = Joining(2 * C)

    def forward(self, x: Tensor) -> Tensor:
        tensors = [self.stem(x)]
        self.first(tensors)
        y: Tensor = self.second(tensors)
        return y


class ListGivenBack(nn.Module):
    """A head writes to the list that it is given, gives back the same list, and adds to a table."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(C, C, 1) for _ in range(2))
            self.before = nn.ParameterList(torch.randn(1, C, 1, 1) for _ in range(2))
            self.behind = nn.ParameterList(torch.randn(1, C, 1, 1) for _ in range(2))

        def forward(
            self, maps: list[Tensor], seen: dict[str, list[Tensor]]
        ) -> tuple[Tensor, list[Tensor]]:
            flat = []
            for index, layer in enumerate(self.layers):
                maps[index] = layer(maps[index] + self.before[index]) * self.behind[index]
                flat.append(maps[index].sigmoid().flatten(2))
            seen["maps"].extend(flat)
            seen["last"] = [flat[-1]]
            return torch.cat(flat, 2), maps

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, C, 3)
        self.head = self.Head()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        maps, seen = [x.relu(), functional.max_pool2d(x, 2)], {"maps": [x]}
        inner = seen["maps"]
        flat, given = self.head(maps, seen)
        if given is not maps or seen["maps"] is not inner:
            raise AssertionError("the head gave other containers than it was given")
        return flat, *maps, *seen["maps"], *seen["last"]


class Activated(TwoBranches):
    """Its activation is the default of an argument: every instance has the same one."""

    def __init__(self, activation: nn.Module = nn.GELU()) -> None:  # noqa: B008
        super().__init__()
        self.stem = nn.Conv2d(C, C, 1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.activation(self.a(x) + self.b(x))
        return y


class OptionalArgument(TwoBranches):
    """A mask that nobody passes."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.a(x) + self.b(x)
        if mask is not None:
            y = y * mask
        return y


class DataDependent(TwoBranches):
    """Which branch counts is decided by the values."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.a(x) + self.b(x)
        return y if x.mean() > 0 else functional.relu(y)


class RankDependent(nn.Module):
    """Asks in every spelling how many axes a tensor has, of its input and of what it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(C, C, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(C)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            x = x[None]
        if len(x.shape) != 4 or len(x.size()) != 4:
            raise ValueError("not an image")
        y: Tensor = self.norm(self.a(x) + self.b(x))
        flat = y.flatten(2)
        if flat.ndim == 3:
            y = y - flat.mean(-1)[(..., *[None] * (y.ndimension() - 2))]
        return y


class ShapeDependent(TwoBranches):
    """Odd heights are padded to even ones; the traced size is even, the other odd."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if x.shape[2] % 2:
            x = functional.pad(x, (0, 0, 0, 1))
        y: Tensor = self.a(x) + self.b(x)
        return y


class Cached(TwoBranches):
    """Keeps a grid of the last size on itself, as the heads of detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None
        self.shape: torch.Size | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.a(x) + self.b(x)
        if self.grid is None or self.shape != y.shape:
            self.shape = y.shape
            self.grid = torch.linspace(0, 1, y.shape[-1], dtype=y.dtype, device=y.device)
        return y * self.grid


class CalledTwice(TwoBranches):
    """The same modules at two places: once in the sum, once alone."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = functional.relu(self.a(x) + self.b(x))
        out: Tensor = self.b(functional.relu(self.a(y)))
        return out


class SharedBlock(nn.Module):
    """One object at two paths, called through both: a recurrent block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, C, 1)
        block = nn.Sequential(conv_bn(C, C, 3), nn.ReLU())
        self.first = block
        self.second = block

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(self.stem(x)))
        return y


class SharedNorm(nn.Module):
    """One BatchNorm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, C, 3, padding=1)
        self.b = nn.Conv2d(3, C, 1)
        self.bn = nn.BatchNorm2d(C)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = functional.relu(self.bn(self.a(x))) + functional.relu(self.bn(self.b(x)))
        return y


class TiedWeights(TwoBranches):
    """Two convolutions share a weight, their BatchNorms differ: fused, they part."""

    def __init__(self) -> None:
        super().__init__()
        self.c = conv_bn(C, C, 3)
        weight = self.a.get_parameter("conv.weight")
        self.c.get_submodule("conv").register_parameter("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.c(functional.relu(self.a(self.stem(x))))
        return y


class InnerOutput(TwoBranches):
    """What one branch made is an output too, so it must survive the sum."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        a = self.a(x)
        return a + self.b(x), a


class NamedOutputs(TwoBranches):
    """A dictionary with a list in it."""

    def forward(self, x: Tensor) -> dict[str, Tensor | list[Tensor]]:
        x = self.stem(x)
        a, b = self.a(x), self.b(x)
        return {"sum": a + b, "features": [x, functional.relu(x)]}


class NeverCalled(TwoBranches):
    """A container that is only read, by index and by loop."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([self.stem, self.a, nn.ReLU()])
        self.table = nn.ModuleDict({"b": self.b})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        y: Tensor = self.table["b"](x)
        return y


class TwiceTheSum(nn.Conv2d):
    """A subclass of Conv2d with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class StandardisedConv(nn.Conv2d):
    """Weight standardisation (Qiao et al., 2019): the kernel is a function of the weight."""

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        kernel = (self.weight - mean) / (deviation + 1e-5)
        return functional.conv2d(x, kernel, self.bias, self.stride, self.padding)


class ActivatedBatchNorm(nn.BatchNorm2d):
    """A subclass of BatchNorm2d that checks its input and ends with a ReLU, as timm's does."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ValueError(f"expected 4 dimensions, got {x.ndim}")
        y = functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )
        return functional.relu(y)


class FrozenBatchNorm(nn.Module):
    """A BatchNorm as two constants, computed in every forward, as detection backbones have."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.linspace(0.5, 1.5, channels))
        self.register_buffer("bias", torch.linspace(-1, 1, channels))
        self.register_buffer("mean", torch.linspace(1, -0.5, channels))
        self.register_buffer("variance", torch.linspace(0.25, 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.variance + 1e-5).rsqrt()
        shift = self.bias - self.mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def conv_then(norm: nn.Module, conv: type[nn.Conv2d] = nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=conv(3, C, 3, padding=1), bn=norm, relu=nn.ReLU()))


def weight_normed() -> nn.Sequential:
    """A weight that a parametrisation computes at every reading; the class is changed by it."""
    model = conv_then(nn.BatchNorm2d(C))
    parametrizations.weight_norm(model.get_submodule("conv"))
    return model


def hooked(*, changes: bool) -> nn.Sequential:
    """A forward hook on a convolution that would fold; it watches the output, or changes it."""
    model = conv_then(nn.BatchNorm2d(C))
    watched: list[torch.Size] = []

    def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        watched.append(output.shape)
        return -output if changes else None

    model.get_submodule("conv").register_forward_hook(hook)
    return model


class HookedBlock(nn.Sequential):
    """Its code is recorded and written anew; what its hooks do is in the recording."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self[1](self[0](x) + x)
        return y.relu()


def hooked_block(how: str) -> nn.Sequential:
    """A hook on a block of own code that changes what the block is given, or what it gives."""
    block = HookedBlock(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
    if how == "before":
        block.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2,))
    elif how == "in place":
        block.register_forward_pre_hook(lambda _, inputs: (inputs[0].mul_(2),)[1:] or None)
    else:
        block.register_forward_hook(lambda _, inputs, output: output.sigmoid())
    return nn.Sequential(nn.ReLU(), block, nn.ReLU())


def pre_hooked() -> nn.Sequential:
    """A hook on a BatchNorm that changes its input, so that it no longer follows the sum."""
    model = conv_then(nn.BatchNorm2d(C))
    model.get_submodule("bn").register_forward_pre_hook(lambda _, inputs: (inputs[0].abs(),))
    return model


def frozen() -> nn.Sequential:
    """No parameter asks for a gradient."""
    return conv_then(nn.BatchNorm2d(C)).requires_grad_(False)


def without_statistics() -> nn.Sequential:
    return conv_then(nn.BatchNorm2d(C, track_running_stats=False))


def without_affine() -> nn.Sequential:
    return conv_then(nn.BatchNorm2d(C, affine=False))


def only_partly_fused() -> nn.Sequential:
    """A convolution with bias, as a fused block is, between blocks as they are trained."""
    fused = nn.Sequential(nn.Conv2d(C, C, 3, padding=1), nn.ReLU())
    return nn.Sequential(conv_then(nn.BatchNorm2d(C)), fused, conv_bn(C, C, 1))


def nothing_to_fuse() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, C, 3), nn.ReLU(), nn.Conv2d(C, C, 1), nn.Sigmoid())


def without_parameters() -> nn.Sequential:
    return nn.Sequential(nn.MaxPool2d(2), nn.ReLU())


@dataclass(frozen=True, slots=True)
class Hazard:
    """A network of 3-channel images, and how many convolutions and BatchNorms may stay at most."""

    build: Callable[[], nn.Module]
    convs: int
    norms: int


HAZARDS = {
    "aliased sum": Hazard(AliasedSum, 2, 0),
    "view mutated between": Hazard(ViewMutated, 3, 0),
    "base mutated between": Hazard(BaseMutated, 3, 0),
    "inplace ReLU on a shared sum": Hazard(InplaceReluOnSharedSum, 3, 0),
    "item assignment": Hazard(ItemAssignment, 3, 2),
    "branch on type": Hazard(TypeBranch, 2, 0),
    "asked in other words": Hazard(AskedInOtherWords, 2, 0),
    "assertion with words": Hazard(lambda: conv_then(ExplainedAssertion(C)), 1, 0),
    "windows of the image's size": Hazard(Squeezed, 2, 0),
    "block that is given a size": Hazard(GivenASize, 2, 0),
    "list that grows": Hazard(GrowingList, 4, 0),
    "list that a callee changes": Hazard(ListOfACallee, 3, 0),
    "list that is given back": Hazard(ListGivenBack, 3, 0),
    "activation shared by all": Hazard(
        lambda: nn.Sequential(nn.Conv2d(3, C, 1), Activated(), Activated()), 4, 0
    ),
    "optional argument": Hazard(OptionalArgument, 2, 0),
    "data-dependent branch": Hazard(DataDependent, 3, 2),
    "shape-dependent branch": Hazard(ShapeDependent, 3, 2),
    "branch on the number of axes": Hazard(
        lambda: nn.Sequential(nn.Conv2d(3, C, 1), RankDependent(), RankDependent()), 3, 0
    ),
    "cache written in forward": Hazard(Cached, 3, 2),
    "cache in a table": Hazard(CachedInATable, 3, 2),
    "modules called twice": Hazard(CalledTwice, 5, 0),
    "one block at two paths": Hazard(SharedBlock, 3, 0),
    "one BatchNorm behind two convolutions": Hazard(SharedNorm, 2, 0),
    "tied weights": Hazard(TiedWeights, 3, 0),
    "inner tensor is an output": Hazard(InnerOutput, 3, 0),
    "dictionary of outputs": Hazard(NamedOutputs, 3, 0),
    "containers never called": Hazard(NeverCalled, 3, 0),
    "Conv2d with a forward of its own": Hazard(
        lambda: conv_then(nn.BatchNorm2d(C), TwiceTheSum), 1, 1
    ),
    "standardised weight": Hazard(lambda: conv_then(nn.BatchNorm2d(C), StandardisedConv), 1, 1),
    "BatchNorm with activation": Hazard(lambda: conv_then(ActivatedBatchNorm(C)), 1, 0),
    "frozen BatchNorm of buffers": Hazard(lambda: conv_then(FrozenBatchNorm(C)), 1, 0),
    "GroupNorm": Hazard(lambda: conv_then(nn.GroupNorm(2, C)), 1, 0),
    "weight norm": Hazard(weight_normed, 1, 0),
    "hook that watches": Hazard(partial(hooked, changes=False), 1, 1),
    "hook that changes": Hazard(partial(hooked, changes=True), 1, 1),
    "hook in front": Hazard(pre_hooked, 1, 1),
    "hook before a block": Hazard(lambda: hooked_block("before"), 1, 0),
    "hook on a block in place": Hazard(lambda: hooked_block("in place"), 1, 0),
    "hook behind a block": Hazard(lambda: hooked_block("behind"), 1, 0),
    "frozen parameters": Hazard(frozen, 1, 0),
    "BatchNorm without statistics": Hazard(without_statistics, 1, 1),
    "BatchNorm without affine": Hazard(without_affine, 1, 0),
    "partly fused": Hazard(only_partly_fused, 3, 0),
    "nothing to fuse": Hazard(nothing_to_fuse, 2, 0),
    "no parameters": Hazard(without_parameters, 0, 0),
    "root is a convolution": Hazard(partial(nn.Conv2d, 3, C, 3), 1, 0),
    "root is a BatchNorm": Hazard(partial(nn.BatchNorm2d, 3), 0, 1),
    "root is a block": Hazard(partial(conv_bn, 3, C, 3), 1, 0),
}

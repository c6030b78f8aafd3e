"""Random networks as code: a `forward` of a few lines, with layers, sums, views, in-place writes.

The text of the code is the network's `repr`, so that a failing one can be read and run. A line is
kept if it runs at the size it is made with; values that lines give have sizes and channels of all
kinds, and what fits together is found by looking at them.
"""

from __future__ import annotations

import operator
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

Draw: TypeAlias = Callable[[Any], Any]

CHANNELS = 4  # of the input
SIZES: Mapping[int, tuple[tuple[int, ...], ...]] = {
    1: ((13,), (12,), (17,), (9,)),
    2: ((13, 12), (12, 13), (16, 11), (9, 14)),
    3: ((7, 6, 7), (6, 7, 8), (7, 8, 6), (9, 6, 7)),
}  # by spatial axes; networks are made and fused at the first
BATCHES = (2, 1, 3, 2)

_WORDS: Mapping[str, Any] = {"torch": torch, "functional": functional, "operator": operator}
_CONVOLUTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.Identity, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POOLS = (nn.Identity, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class Program(nn.Module):
    """A network that was drawn; `code` is the text of its `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.code = ""

    def finish(self, lines: Sequence[str]) -> None:
        body = textwrap.indent("\n".join(lines), "    ")
        self.code = f"def forward(self, x):\n{body}\n"
        space = dict(_WORDS)
        exec(compile(self.code, "<drawn>", "exec"), space)
        # A class of its own, as a user's network has: code belongs to classes, not to instances.
        self.__class__ = type("Drawn", (Program,), {"forward": space["forward"]})
        self.eval()

    def __repr__(self) -> str:
        parts = [f"{name} = {part!r}" for name, part in self.named_children()]
        held = (*self.named_parameters(recurse=False), *self.named_buffers(recurse=False))
        parts += [f"{name} = {tuple(tensor.shape)}" for name, tensor in held]
        return "\n".join((self.code, *parts))


class _Writer:
    """Writes a program line by line, running each line as it is written."""

    def __init__(self, draw: Draw, image: Tensor, depth: int) -> None:
        self.draw = draw
        self.depth = depth
        self.program = Program().double()
        self.values: dict[str, Any] = {"x": image.clone()}
        self.lines: list[str] = []
        self.generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
        self.count = 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def chance(self, one_in: int) -> bool:
        return bool(self.draw(st.integers(1, one_in)) == 1)

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def value(self) -> str:
        """Any value, later ones more often."""
        names = list(self.values)
        return str(names[-1 - min(self.draw(st.integers(0, 2 * len(names))) // 2, len(names) - 1)])

    def fitting(self, name: str) -> str:
        """A value of the same shape."""
        shape = self.values[name].shape
        return str(self.pick(*(n for n, value in self.values.items() if value.shape == shape)))

    def numbers(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def keep(self, stem: str, part: nn.Module) -> str:
        name = self.fresh(stem)
        part.double().eval()
        with torch.no_grad():
            for tensor in (*part.parameters(), *part.buffers()):
                if tensor.is_floating_point():
                    fan_in = max(1, tensor.numel() // max(1, len(tensor)))
                    tensor.copy_(self.numbers(*tensor.shape) * fan_in**-0.5)
            for inner in part.modules():
                if isinstance(inner, nn.modules.batchnorm._BatchNorm):
                    assert inner.running_var is not None
                    inner.running_var.abs_().add_(0.25)
        self.program.add_module(name, part)
        return name

    def tensor(self, *shape: int, buffer: bool = False) -> str:
        name = self.fresh("t")
        value = self.numbers(*shape)
        if buffer:
            self.program.register_buffer(name, value)
        else:
            self.program.register_parameter(name, nn.Parameter(value))
        return f"self.{name}"

    def write(self, line: str) -> None:
        """Add a line, if it runs."""
        before = dict(self.values)
        try:
            with torch.no_grad():
                exec(line, {**_WORDS, "self": self.program}, self.values)
            if any(isinstance(v, Tensor) and not v.numel() for v in self.values.values()):
                raise RuntimeError("empty")
        except (RuntimeError, ValueError, IndexError):
            self.values = before
            return
        self.lines.append(line)

    def line(self) -> None:
        name = self.value()
        kinds = [_layer, _layer, _layer, _same_layer, _sum, _sum, _sum, _arithmetic, _functional,
                 _nonlinear, _in_place, _alias, _crop, _interleaved]  # fmt: skip
        if self.depth:
            kinds.append(_block)
        kinds.append(self.pick(_reduce, _gate, _concatenate, _assign, _decided))
        kinds.append(self.pick(_assembled, _bordered))
        line = self.pick(*kinds)(self, name)
        if line:
            self.write(line)


def _layer(w: _Writer, name: str) -> str:
    made = _conv(w, name) if w.chance(2) else w.pick(_norm, _pool, _pad, _unit, _unit)(w, name)
    return f"{w.fresh('v')} = self.{w.keep('part', made)}({name})"


def _axes(w: _Writer, name: str) -> int:
    return len(w.values[name].shape) - 2


def _conv(w: _Writer, name: str, out: int | None = None) -> nn.Module:
    axes, c = _axes(w, name), w.values[name].shape[1]
    out = w.pick(c, c, c, CHANNELS, 2) if out is None else out
    bias = w.chance(2)
    if axes == 0:
        return nn.Linear(c, out, bias)
    groups = w.pick(*(g for g in (1, 1, c, 2) if c % g == 0 and out % g == 0))
    if w.chance(3):
        size: Any = 1
    else:
        size = tuple(w.pick(1, 2, 3, 3, 3, 5) for _ in range(axes)) if w.chance(3) else w.pick(3, 5)
    full = (size,) * axes if isinstance(size, int) else size
    dilation = w.pick(1, 1, 1, 2)
    padding: Any = tuple(dilation * (k // 2) for k in full)
    if w.chance(3):
        padding = tuple(w.pick(0, 0, 1, 2) for _ in range(axes))
    stride: Any = w.pick(1, 1, 1, 2)
    if stride == 1 and w.chance(5):
        padding = "same"
    if w.chance(6):
        return _transposed(w, c, out, groups, axes)
    kind: Any = _CONVOLUTIONS[axes]
    mode = w.pick("reflect", "replicate", "circular") if w.chance(8) else "zeros"
    layer: nn.Module = kind(
        c, out, size, stride, padding, dilation, groups, bias=bias, padding_mode=mode
    )
    return layer


def _transposed(w: _Writer, c: int, out: int, groups: int, axes: int) -> nn.Module:
    kind: Any = _TRANSPOSED[axes]
    stride = w.pick(1, 2, 2)
    layer: nn.Module = kind(
        c, out, w.pick(2, 3, 4), stride, w.pick(0, 1), w.pick(0, stride - 1), groups, w.chance(2)
    )
    return layer


def _norm(w: _Writer, name: str) -> nn.Module:
    return _BATCHNORMS[_axes(w, name)](w.values[name].shape[1], affine=not w.chance(5))


def _pool(w: _Writer, name: str) -> nn.Module:
    axes = _axes(w, name)
    if axes == 0:
        return nn.Identity()
    size, stride = w.pick(2, 3, 3), w.pick(1, 1, 2)
    kind: Any = _POOLS[axes]
    layer: nn.Module = kind(
        size, stride, w.pick(0, size // 2), ceil_mode=w.chance(6), count_include_pad=not w.chance(4)
    )
    return layer


def _pad(w: _Writer, name: str) -> nn.Module:
    if _axes(w, name) != 2:
        return nn.Identity()
    sides = tuple(w.pick(-1, 0, 1, 2) for _ in range(4))
    return nn.ZeroPad2d(sides) if w.chance(2) else nn.ConstantPad2d(sides, w.pick(0.0, 0.5))


def _unit(w: _Writer, name: str) -> nn.Module:
    parts = [_conv(w, name)]
    out = getattr(parts[0], "out_channels", getattr(parts[0], "out_features", 0))
    parts.append(_BATCHNORMS[_axes(w, name)](out))
    if w.chance(2):
        parts.append(nn.ReLU(inplace=w.chance(2)))
    return nn.Sequential(*parts)


def _same_layer(w: _Writer, name: str) -> str:
    """A layer of a tensor of its own shape, or one that is there already, called again."""
    parts = [part for part, _ in w.program.named_children()]
    if parts and w.chance(3):
        return f"{w.fresh('v')} = self.{w.pick(*parts)}({name})"
    return f"{w.fresh('v')} = self.{_fitting_layer(w, name)}({name})"


def _fitting_layer(w: _Writer, name: str) -> str:
    """Name of a new layer whose result has the shape of what it reads."""
    axes, c = _axes(w, name), w.values[name].shape[1]
    if axes == 0:
        return w.keep("part", nn.Linear(c, c, w.chance(2)))
    k = w.pick(1, 3, 3, 5)
    groups = w.pick(1, 1, c)
    conv: Any = _CONVOLUTIONS[axes]
    made = conv(c, c, k, padding=k // 2, groups=groups, bias=w.chance(2))
    if w.chance(2):
        made = nn.Sequential(made, _BATCHNORMS[axes](c))
    return w.keep("part", made)


def _interleaved(w: _Writer, name: str) -> str:
    """Two branches of a value, or of a copy of it, that is written to at some moment."""
    copied, branch, new = w.fresh("v"), w.fresh("v"), w.fresh("v")
    lines = [
        f"{branch} = self.{_fitting_layer(w, name)}({copied})",
        w.pick(f"{name}.mul_(2)", f"{copied}.add_(1)", f"torch.relu_({name})", "pass"),
    ]
    lines.insert(
        0, f"{copied} = {name}{w.pick('', '.clone()', '.clone()', '.detach()', '[:]', '.relu_()')}"
    )
    if w.chance(2):
        lines[1:] = reversed(lines[1:])
    return "\n".join([*lines, f"{new} = {branch} + self.{_fitting_layer(w, name)}({name})"])


def _sum(w: _Writer, name: str) -> str:
    other, third = w.fitting(name), w.fitting(name)
    new = w.fresh("v")
    return str(w.pick(
        f"{new} = {name} + {other}",
        f"{new} = {name} + {other}",
        f"{new} = {name} - {other}",
        f"{name} += {other}",
        f"{name} -= {other}",
        f"{new} = torch.add({name}, {other}, alpha=-2)",
        f"{new} = {name}.add({other})",
        f"{new} = {name}.sub({other}, alpha=0.5)",
        f"{new} = sum([{name}, {other}, {third}])",
        f"{new} = {name} + {other} + {third}",
        f"{new} = 0.5 * {name} + (1 - 0.5) * {other}",
        f"{new} = {name} + {w.value()}",  # of another shape perhaps, which torch repeats
        f"{new} = ({name} + {other}) / 2",
    ))  # fmt: skip


def _arithmetic(w: _Writer, name: str) -> str:
    axes, c = _axes(w, name), w.values[name].shape[1]
    shape = w.pick((c, *[1] * axes), (1, c, *[1] * axes), (1,), (), (c, *[1] * axes))
    held, number = w.tensor(*shape, buffer=w.chance(3)), w.pick(2, 0.5, -1.5, 0, 1)
    new = w.fresh("v")
    return str(w.pick(
        f"{new} = {name} * {held}",
        f"{new} = {held} * {name}",
        f"{new} = {name} / ({held}.abs() + 0.5)",
        f"{new} = {name} + {held}",
        f"{new} = {held} - {name}",
        f"{new} = {name} * {number}",
        f"{new} = {number} - {name}",
        f"{new} = {name} + {number}",
        f"{new} = -{name}",
        f"{new} = torch.mul({name}, {held})",
        f"{new} = {name}.div(4)",
        f"{new} = {name} * torch.tensor([0.5], dtype=torch.float64)",
        f"{new} = {name} / {name}.shape[1]",
        f"{new} = 3 / ({name} * {name} + 1)",
    ))  # fmt: skip


def _functional(w: _Writer, name: str) -> str:
    axes, c, new = _axes(w, name), w.values[name].shape[1], w.fresh("v")
    held = w.tensor
    if axes == 0:
        weight, bias = held(c, c), held(c)
        return f"{new} = functional.linear({name}, {weight}, {w.pick('None', bias)})"
    pads = ", ".join(str(w.pick(-1, 0, 1, 2)) for _ in range(2 * axes))
    k, stride = w.pick(1, 3, 2), w.pick(1, 1, 2)
    chosen = w.draw(st.integers(0, 4))
    if chosen == 0:
        weight, bias = held(c, 1, *[k] * axes), held(c)
        return (
            f"{new} = functional.conv{axes}d({name}, {weight}, {w.pick('None', bias)}, "
            f"stride={stride}, padding={k // 2}, groups={c})"
        )
    if chosen == 1:
        mean, variance, weight, bias = (held(c, buffer=True) for _ in range(4))
        statistics = f"{mean}, {variance} ** 2 + 0.1"
        return f"{new} = functional.batch_norm({name}, {statistics}, {weight}, {bias})"
    if chosen == 2:
        options = w.pick("", ", count_include_pad=False", f", {stride}, 1", ", ceil_mode=True")
        return f"{new} = functional.avg_pool{axes}d({name}, 3{options})"
    if chosen == 3:
        options = w.pick("", "", ", value=0.5", ", mode='replicate'")
        return f"{new} = functional.pad({name}, ({pads}){options})"
    return f"{new} = functional.dropout({name}, 0.5, {w.pick('self.training', 'False')})"


def _nonlinear(w: _Writer, name: str) -> str:
    new = w.fresh("v")
    return str(w.pick(
        f"{new} = torch.relu({name})",
        f"{new} = functional.relu({name}, inplace=True)",
        f"{new} = functional.silu({name})",
        f"{new} = {name}.sigmoid()",
        f"{new} = {name} * {w.fitting(name)}",
        f"{new} = {name}.abs()",
    ))  # fmt: skip


def _in_place(w: _Writer, name: str) -> str:
    other = w.fitting(name)
    return str(w.pick(
        f"{name} *= 2",
        f"{name} /= 2",
        f"{name}.mul_(-1.5)",
        f"{name}.add_({other})",
        f"{name}.sub_({other}, alpha=0.5)",
        f"{name}.clamp_(min=0)",
        f"torch.relu_({name})",
        f"{name}.copy_({other})",
        f"{name}[:, :1].mul_(2)",
        f"{name}.zero_()",
        f"torch.add({name}, {other}, out={name})",
        f"{name}.expand({name}.shape).mul_(2)",
        f"{w.fresh('v')} = {name}.add_(1)",
    ))  # fmt: skip


def _alias(w: _Writer, name: str) -> str:
    new = w.fresh("v")
    kept = w.keep("part", w.pick(nn.Identity, nn.Dropout)())
    return str(w.pick(
        f"{new} = {name}",
        f"{new} = self.{kept}({name})",
        f"{new} = {name}.contiguous()",
        f"{new} = {name}.detach()",
        f"{new} = {name}.clone()",
        f"{new} = {name}.to({name}.dtype)",
        f"{new} = {name}.view({name}.shape)",
        f"{new} = {name}[:]",
    ))  # fmt: skip


def _crop(w: _Writer, name: str) -> str:
    axes, new = _axes(w, name), w.fresh("v")
    if axes == 0:
        return ""
    cuts = ", ".join(w.pick(":", "1:", ":-1", "1:-1", "::2", ":6", "-5:") for _ in range(axes))
    return f"{new} = {name}[{w.pick(':, :, ', '..., ')}{cuts}]"


def _reduce(w: _Writer, name: str) -> str:
    axes = _axes(w, name)
    over = ", ".join(str(axis + 2) for axis in range(axes))
    return f"{w.fresh('v')} = {name}.mean(({over},))" if axes else ""


def _gate(w: _Writer, name: str) -> str:
    axes = _axes(w, name)
    over = ", ".join(str(axis + 2) for axis in range(axes))
    new = w.fresh("v")
    return f"{new} = {name} * torch.sigmoid({name}.mean(({over},), keepdim=True))" if axes else ""


def _concatenate(w: _Writer, name: str) -> str:
    first, second, new = w.fresh("v"), w.fresh("v"), w.fresh("v")
    if w.chance(2):
        return _partly(w, name, new)
    return str(w.pick(
        f"{new} = torch.cat([{name}, {w.fitting(name)}], 1)",
        f"{first}, {second} = {name}.chunk(2, 1)",
        f"{new} = torch.stack([{name}, {w.fitting(name)}]).sum(0)",
    ))  # fmt: skip


def _partly(w: _Writer, name: str, new: str) -> str:
    """Layers of one value side by side, or one of some of its channels beside the others."""
    layer, other = _fitting_layer(w, name), _fitting_layer(w, name)
    some = w.pick(1, 2)
    return str(w.pick(
        f"{new} = torch.cat((self.{layer}({name}), self.{other}({name})), dim=1)",
        f"{new} = torch.cat([self.{layer}({name})[:, :{some}], {name}[:, {some}:]], 1)",
        f"{new} = torch.cat([{name}[:, -{some}:].clone(), self.{layer}({name})], 1)",
        f"{new} = self.{layer}({name}).narrow(1, 0, {some})",
        f"{new} = torch.cat([part * 2 for part in {name}.split({some}, 1)], 1)",
    ))  # fmt: skip


def _assign(w: _Writer, name: str) -> str:
    return f"{name}[:, :, :1] = {w.pick('0', '1.5')}" if _axes(w, name) else ""


def _decided(w: _Writer, name: str) -> str:
    other, new = w.value(), w.fresh("v")
    asked = w.pick(
        f"{name}.shape[1] == {other}.shape[1]", f"{name}.shape == {other}.shape",
        f"{name}.shape[-1] % 2", f"len({name}) > 1", f"{name}.sum() > 0", "self.training",
    )  # fmt: skip
    return f"{new} = {name} * 2 if {asked} else {name} + 1"


def _assembled(w: _Writer, name: str) -> str:
    """A kernel that is put together in place, and perhaps changed again before or after its use."""
    axes, c, new, kernel = _axes(w, name), w.values[name].shape[1], w.fresh("v"), w.fresh("kernel")
    if axes == 0:
        return ""
    held, bias = w.tensor(c, *[3] * axes, buffer=w.chance(2)), w.tensor(c)
    lines = [
        f"{kernel} = torch.zeros({(c, c, *[3] * axes)}, dtype=torch.float64)",
        f"for i in range({c}):\n    {kernel}[i, i] = 0.5 * {held}[i]",
        f"{kernel}[0] += {w.pick('1.0', f'{name}.mean()', bias)}" if w.chance(4) else "pass",
        f"{new} = functional.conv{axes}d({name}, {kernel}, {w.pick('None', bias)}, padding=1)",
        f"{kernel}.mul_(2)" if w.chance(5) else "pass",
        f"del i, {kernel}",
    ]
    return "\n".join(lines)


def _bordered(w: _Writer, name: str) -> str:
    """1x1, a border of its bias or of nearly that, and a convolution without padding."""
    axes, c, new, padded = _axes(w, name), w.values[name].shape[1], w.fresh("v"), w.fresh("padded")
    if axes == 0:
        return ""
    conv: Any = _CONVOLUTIONS[axes]
    first, second = w.keep("part", conv(c, c, 1)), w.keep("part", conv(c, c, 3))
    border, of = w.fresh("border"), ", ".join(["1"] * axes)
    ends = [f"{padded}[:, :{', :' * axis}, {end}] = {border}"
            for axis in range(axes) for end in (":1", "-1:")]  # fmt: skip
    if w.chance(6):
        ends.pop()
    return "\n".join(
        [
            f"{padded} = functional.pad(self.{first}({name}), {[1] * (2 * axes)})",
            f"{border} = self.{first}.bias.view(1, -1, {of}){' * 2' if w.chance(6) else ''}",
            *ends,
            f"{new} = self.{second}({padded})" + (f" + {name}" if w.chance(2) else ""),
            f"del {padded}, {border}",
        ]
    )


def _block(w: _Writer, name: str) -> str:
    """A module with code of its own."""
    inner = _written(w.draw, w.values[name], w.depth - 1, w.draw(st.integers(2, 5)), outputs=1)
    part = w.fresh("block")
    w.program.add_module(part, inner)
    return f"{w.fresh('v')} = self.{part}({name})"


def _written(draw: Draw, image: Tensor, depth: int, lines: int, outputs: int) -> Program:
    writer = _Writer(draw, image, depth)
    for _ in range(lines):
        writer.line()
    last = next(reversed(writer.values))
    names = [last, *(writer.value() for _ in range(outputs - 1))]
    text = names[0] if outputs == 1 else ", ".join(names)
    if outputs > 1 and writer.chance(3):
        text = f"{{'first': {names[0]}, 'rest': [{', '.join(names[1:])}]}}"
    writer.program.finish([*writer.lines, f"return {text}"])
    return writer.program


@st.composite
def programs(draw: Draw, axes: int = 2) -> Program:
    """Networks of images with `CHANNELS` channels and so many spatial axes."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(
        BATCHES[0], CHANNELS, *SIZES[axes][0], generator=generator, dtype=torch.float64
    )
    return _written(draw, image, 1, draw(st.integers(2, 9)), draw(st.sampled_from([1, 1, 2, 3])))

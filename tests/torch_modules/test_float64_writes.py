"""What a network's own code makes, converts and writes into is computed in float64 as well."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgerep.torch_modules.copies import state_kept
from edgerep.torch_modules.float64 import Float64Arithmetic


class Parts(nn.Module):
    """What the cases below use, all of it float32."""

    scale: Tensor
    square: Tensor
    table: Tensor
    plain: Tensor
    norm: nn.BatchNorm1d
    lstm: nn.LSTM

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(4))
        self.square = nn.Parameter(torch.rand(4, 4))
        self.register_buffer("table", torch.rand(4))
        self.plain = torch.rand(4)
        self.norm = nn.BatchNorm1d(4)
        self.lstm = nn.LSTM(4, 4)


Case = Callable[[Parts, Tensor], Tensor]


def setitem(m: Parts, x: Tensor) -> Tensor:
    gate = torch.zeros(1, 4)
    gate[0, :] = m.scale
    return x * gate


def setitem_of_a_named_type(m: Parts, x: Tensor) -> Tensor:
    gate = torch.zeros((1, 4), dtype=torch.float32, device=x.device)
    gate[:, 1:3] = x[:1, 1:3] / 3
    return x + gate


def added_in_place(m: Parts, x: Tensor) -> Tensor:
    total = torch.zeros(4)
    total += m.scale
    total.mul_(1 / 3)
    total.view(2, 2)[0].sub_(m.scale[:2])
    return x + total


def index_put(m: Parts, x: Tensor) -> Tensor:
    gate = x.new_zeros(4, dtype=torch.float32)
    gate.index_put_((torch.tensor([1, 3]),), m.scale[:2] / 3)
    gate.scatter_(0, torch.tensor([0]), m.scale[3:])
    return x * gate


def out_argument(m: Parts, x: Tensor) -> Tensor:
    made = torch.empty(x.shape, dtype=torch.float32)
    torch.mul(x, m.scale, out=made)
    return made / 3


def converted(m: Parts, x: Tensor) -> Tensor:
    third = (x / 3).float() + (x / 7).to(torch.float32) + (x / 9).type(torch.float32)
    return third + (x / 11).to(m.scale) + (x / 13).to(m.scale.dtype) + (x / 17).type_as(m.scale)


def converted_by_name(m: Parts, x: Tensor) -> Tensor:
    return (x / 3).type("torch.FloatTensor") + (x / 7).to(device="cpu", dtype=torch.float32)


def copied_by_conversion(m: Parts, x: Tensor) -> Tensor:
    wide = x.double()
    wide += 1
    other = x.to(torch.float64)
    other.zero_()
    same = x.float()
    return (x + wide + other + same) / 3


def buffer_written(m: Parts, x: Tensor) -> Tensor:
    m.table.mul_(1 / 3)
    m.table[1:] += x[0, 1:] / 7
    m.table.view(2, 2).t()[0].add_(m.scale[:2])
    return x + m.table


def plain_attribute_written(m: Parts, x: Tensor) -> Tensor:
    half = m.plain[:2]
    m.plain.div_(3)
    half += x[0, :2] / 3
    return x * m.plain + half.sum()


def parameter_written_through_data(m: Parts, x: Tensor) -> Tensor:
    m.scale.data[0] = 1 / 3
    m.scale.data.mul_(1 / 7)
    return x * m.scale


def data_given(m: Parts, x: Tensor) -> Tensor:
    m.scale.data = m.scale / 3
    return x * m.scale


def view_taken_first(m: Parts, x: Tensor) -> Tensor:
    rows = m.square.unbind(0)
    with torch.no_grad():
        m.square.mul_(1 / 3)
    return x + rows[0] + rows[3]


def inplace_functions(m: Parts, x: Tensor) -> Tensor:
    y = functional.relu(x / 3, inplace=True)
    functional.relu(m.table, inplace=True)
    z = torch.relu_(y - 0.1)
    return y + z + m.table.clamp_(max=1 / 3)


def made_of_numbers(m: Parts, x: Tensor) -> Tensor:
    grid = torch.arange(4) / 7 + torch.linspace(0, 1, 4) + torch.tensor(0.1) + torch.full((4,), 0.3)
    return x + grid + torch.ones(4, dtype=torch.int64) * 0.7


def types_told(m: Parts, x: Tensor) -> Tensor:
    assert x.dtype == m.scale.dtype
    assert (x / 3).type() == "torch.FloatTensor"
    masked = x.masked_fill(x < 0, torch.finfo(x.dtype).min)
    return masked.softmax(1, dtype=torch.float32) / (x.std() + torch.finfo(x.dtype).eps)


def lists(m: Parts, x: Tensor) -> Tensor:
    made = [torch.zeros(4), torch.zeros(4)]
    torch._foreach_add_(made, [m.scale, m.table])
    return x + torch.stack(made).sum(0) / 3


def complex_numbers(m: Parts, x: Tensor) -> Tensor:
    turned = torch.polar(torch.ones(4), m.scale) * torch.complex(x, x / 3).to(torch.complex64)
    length: Tensor = torch.view_as_real(turned).sum(-1)
    spectrum: Tensor = torch.fft.rfft(x).abs().sum(1, keepdim=True)
    return length + spectrum


def statistics_written(m: Parts, x: Tensor) -> Tensor:
    functional.batch_norm(x, m.norm.running_mean, m.norm.running_var, training=True, momentum=0.3)
    mean: Tensor = torch.as_tensor(m.norm.running_mean)
    return x + mean


def recurrent(m: Parts, x: Tensor) -> Tensor:
    result: Tensor = m.lstm(x[None])[0][0]
    return result


CASES: tuple[Case, ...] = (
    setitem, setitem_of_a_named_type, added_in_place, index_put, out_argument, converted,
    converted_by_name, copied_by_conversion, buffer_written, plain_attribute_written,
    parameter_written_through_data, data_given, view_taken_first, inplace_functions,
    made_of_numbers, types_told, lists, complex_numbers, statistics_written, recurrent,
)  # fmt: skip


# They convert in ways that `in_float64` cannot widen.
NOT_FOR_THE_ORACLE = (
    copied_by_conversion,
    converted,
    converted_by_name,
    types_told,
    complex_numbers,
    data_given,
)


def in_float64(case: Case, module: Parts, x: Tensor) -> Tensor:
    """The oracle: everything that is made is float64 from the beginning, by torch's own means."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    single, torch.float32 = torch.float32, torch.float64
    try:
        module.plain = module.plain.double()
        return case(module.double(), x.double())
    finally:
        torch.float32 = single
        torch.set_default_dtype(before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@torch.no_grad()
def test_it_is_the_network_in_exact_arithmetic(case: Case) -> None:
    torch.manual_seed(0)
    module, x = Parts().eval(), torch.randn(3, 4)
    torch.manual_seed(0)
    own = case(Parts().eval(), x.clone())
    with Float64Arithmetic():
        found = case(module, x.double())
    assert found.dtype == torch.float64
    error = float((found - own).norm() / own.norm())
    assert (error > 0) == (own.dtype == torch.float32), "float32 rounds, and the reference does not"
    assert error < 1e-6
    if case not in NOT_FOR_THE_ORACLE:
        torch.manual_seed(0)
        wanted = in_float64(case, Parts().eval(), x)
        assert torch.allclose(found, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@torch.no_grad()
def test_the_network_is_as_it_was(case: Case) -> None:
    module, x = Parts().eval(), torch.randn(3, 4)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    plain = module.plain.clone()
    with state_kept(module), Float64Arithmetic():
        case(module, x.double())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert torch.equal(module.plain, plain)
    assert torch.get_default_dtype() == torch.float32

"""Every format that is read: renamed, saved, read back, with the same answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import edgerep
from edgerep.checkpoints.formats import FORMATS, Format
from edgerep.checkpoints.spelling import canonical_name, format_name
from edgerep.errors import CheckpointError, OptionError
from edgerep.export.fused_weights import save_weights
from edgerep.fusion.fused import fuse
from edgerep.networks.mobileone_architecture import MobileOneArchitecture
from edgerep.networks.network import Network, origin_of
from edgerep.networks.published import build_network, random_network
from edgerep.networks.repvgg_architecture import Architecture
from edgerep.networks.variants import PUBLISHED, AnyArchitecture

REPVGG = Architecture(3, 8, (8, 16), (2, 2), (1, 4, 2, 1, 2), squeeze=False, classes=5)
SQUEEZED = Architecture(3, 16, (16, 32), (2, 1), (1, 1, 4, 1), squeeze=True, classes=4)
PLUS = Architecture(
    3, 8, (8, 8, 16, 16), (1, 2, 4, 1), (1,) * 9, squeeze=True, classes=5, plus=True
)
MOBILEONE = MobileOneArchitecture(
    image_channels=3, stem_width=8, widths=(8, 16), depths=(2, 1),
    branches=(3,) * 7, squeeze=(0,) * 5 + (1, 1), classes=5,
)  # fmt: skip
FAMILIES: Mapping[str, AnyArchitecture] = {
    "RepVGG": REPVGG, "RepVGGplus": PLUS, "MobileOne": MOBILEONE
}  # fmt: skip


def in_format(form: Format, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Canonical tensors as the code base would write them."""
    renamed = {}
    for name, tensor in tensors.items():
        theirs = format_name(form, name)
        if form.writer == "paddleclas" and name.endswith("num_batches_tracked"):
            continue
        assert theirs is not None, name
        if form.linear_in_out and name == "linear.weight":
            tensor = tensor.T.contiguous()
        renamed[theirs] = tensor
    return renamed


def same_answers(found: nn.Module, wanted: nn.Module) -> bool:
    x = torch.randn(2, 3, 40, 33, dtype=torch.float64)
    with torch.no_grad():
        a, b = copy.deepcopy(found).double()(x), copy.deepcopy(wanted).double()(x)
    return bool((a - b).abs().max() <= 1e-12 * b.abs().max())


def read_back(content: object, path: Path) -> Network:
    torch.save(content, path)
    found = edgerep.load(path)
    assert isinstance(found, Network)
    return found


def partly(model: Network, fused: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`stage0` and `stage1.0` as one convolution each, the rest as trained."""
    first = [n for n, _ in model.named_modules() if hasattr(model.get_submodule(n), "plan")][:2]
    inside = tuple(f"{name}." for name in first)
    kept = {k: v for k, v in model.state_dict().items() if not k.startswith(inside)}
    kept |= {k: v for k, v in fused.items() if k.startswith(inside)}
    return kept


@pytest.mark.parametrize("stage", ["train", "fused", "partly fused"])
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.title)
def test_a_format_round_trips(form: Format, stage: str, tmp_path: Path) -> None:
    model = random_network(FAMILIES[form.family], seed=3)
    fused = fuse(model).module.state_dict()
    if stage == "partly fused" and form.writer == "paddleclas":
        pytest.skip("PaddleClas keeps the branches beside the fused convolution")
    tensors = {"train": model.state_dict(), "fused": fused}.get(stage) or partly(model, fused)
    found = read_back(in_format(form, tensors), tmp_path / "x.pth")
    origin = origin_of(found)
    assert origin is not None
    # Once it is fused, nothing tells PaddleClas's names from the official ones.
    alike = form.writer == "paddleclas" and stage == "fused"
    assert origin.format == f"{'official RepVGG' if alike else form.title}, {stage} form"
    tolerance_of_rounded_weights = stage != "train"
    if tolerance_of_rounded_weights:
        x = torch.randn(2, 3, 40, 33)
        with torch.no_grad():
            assert torch.allclose(found(x), model(x), rtol=1e-3, atol=1e-3)
    else:
        assert same_answers(found, model)


@pytest.mark.parametrize("writer", ["timm", "mmpretrain", "official"])
def test_squeeze_and_excitation_round_trips(writer: str, tmp_path: Path) -> None:
    form = next(f for f in FORMATS if f.writer == writer and f.family == "RepVGG")
    model = random_network(SQUEEZED, seed=1)
    assert same_answers(read_back(in_format(form, model.state_dict()), tmp_path / "x.pth"), model)


WRAPPERS: Mapping[str, Callable[[dict[str, Tensor]], object]] = {
    "DDP": lambda t: {f"module.{k}": v for k, v in t.items()},
    "compiled DDP": lambda t: {f"module._orig_mod.{k}": v for k, v in t.items()},
    "compiled": lambda t: {"model": {f"_orig_mod.module.{k}": v for k, v in t.items()}},
    "Lightning": lambda t: {
        "state_dict": {f"model.{k}": v for k, v in t.items()}, "epoch": 3, "loops": {}
    },
    "optimizer beside": lambda t: {"model": t, "optimizer": {"state": {}}, "epoch": 90},
    "EMA is the average": lambda t: {
        "state_dict": {k: torch.zeros_like(v) for k, v in t.items()}, "state_dict_ema": t
    },
    "mmengine swaps": lambda t: {
        "meta": {}, "state_dict": t,
        "ema_state_dict": {f"module.{k}": torch.zeros_like(v) for k, v in t.items()}
        | {"steps": torch.tensor(7)},
    },
}  # fmt: skip


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("title", ["official RepVGG", "timm RepVGG", "mmpretrain RepVGG",
                                   "timm MobileOne"])  # fmt: skip
def test_wrappers_and_averages(title: str, wrapper: str, tmp_path: Path) -> None:
    form = next(form for form in FORMATS if form.title == title)
    model = random_network(FAMILIES[form.family], seed=5)
    content = WRAPPERS[wrapper](in_format(form, model.state_dict()))
    found = read_back(content, tmp_path / "x.pth")
    assert same_answers(found, model)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("writer", ["official", "timm", "mmpretrain"])
def test_published_variants_are_told_apart_by_their_tensors(
    name: str, writer: str, tmp_path: Path
) -> None:
    """On the meta device, names and shapes alone: A1 and B0, B2, D2se and L2pse are traps."""
    from edgerep.checkpoints.architecture_detection import recognise
    from edgerep.checkpoints.format_detection import identify

    with torch.device("meta"):
        network = build_network(PUBLISHED[name])
    family = "RepVGGplus" if "plus" in name else name.partition("-")[0]
    forms = [form for form in FORMATS if form.writer == writer and form.family == family]
    if not forms:
        pytest.skip(f"{writer} has no {family}")
    table = in_format(forms[0], network.state_dict())
    assert recognise(identify(table, name), name).architecture.name == name


def test_auxiliary_classifiers_are_dropped_and_said(tmp_path: Path) -> None:
    model = random_network(PLUS, seed=2)
    extra = {
        "stage1_aux.0.conv.weight": torch.zeros(4, 8, 3, 3),
        "stage2_aux.3.bias": torch.ones(5),
    }
    found = read_back({**model.state_dict(), **extra}, tmp_path / "plus.pth")
    assert same_answers(found, model)
    origin = origin_of(found)
    assert origin is not None
    assert any("auxiliary classifiers" in note for note in origin.notes)


def test_paddleclas_keeps_both_forms_and_the_branches_count(tmp_path: Path) -> None:
    form = next(form for form in FORMATS if form.writer == "paddleclas")
    model = random_network(REPVGG, seed=4)
    table = in_format(form, model.state_dict())
    stale = {k: torch.zeros_like(v) for k, v in fuse(model).module.state_dict().items()
             if "rbr_reparam" in k}  # fmt: skip
    assert same_answers(read_back({**table, **stale}, tmp_path / "paddle.pth"), model)


def test_every_missing_and_misshapen_tensor_is_named_as_the_file_names_it(tmp_path: Path) -> None:
    form = next(form for form in FORMATS if form.title == "timm MobileOne")
    table = in_format(form, random_network(MOBILEONE, seed=0).state_dict())
    lost = [name for name in table if name.startswith("stages.0.1.conv_kxk.1.")]
    assert lost
    for name in lost:
        del table[name]
    table["head.fc.bias"] = torch.zeros(9)
    table["stages.0.0.surplus"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as refusal:
        read_back(table, tmp_path / "broken.pth")
    message = str(refusal.value)
    for name in lost:
        if "num_batches" not in name:
            assert f"missing: {name}" in message
    assert "misshapen: head.fc.bias is [9]" in message
    assert "unexpected: stages.0.0.surplus" in message


def test_two_networks_in_one_file_are_refused(tmp_path: Path) -> None:
    table = random_network(REPVGG, seed=0).state_dict()
    both = {f"{part}.{k}": v for part in ("teacher", "student") for k, v in table.items()}
    with pytest.raises(CheckpointError, match=r"student.*teacher|teacher.*student"):
        read_back(both, tmp_path / "two.pth")


@pytest.mark.parametrize("to", ["official", "timm", "mmpretrain"])
@pytest.mark.parametrize("architecture", [REPVGG, SQUEEZED, MOBILEONE], ids=["plain", "se", "one"])
def test_fused_weights_go_back_to_a_code_base(
    architecture: AnyArchitecture, to: str, tmp_path: Path
) -> None:
    model = random_network(architecture, seed=6)
    fused = fuse(model)
    record = save_weights(fused, tmp_path / "fused.safetensors", to=to)
    assert record.options["to"] == to
    names = set(load_file(tmp_path / "fused.safetensors"))
    forms = [form for form in FORMATS if form.writer == to]
    assert any(all(canonical_name(form, name) for name in names) for form in forms)
    found = edgerep.load(tmp_path / "fused.safetensors")
    x = torch.randn(2, 3, 40, 33)
    with torch.no_grad():
        assert torch.equal(found(x), fused.module(x)) or torch.allclose(
            found(x), fused.module(x), rtol=1e-6
        )


def test_a_network_of_ones_own_has_no_other_names(tmp_path: Path) -> None:
    fused = fuse(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval())
    with pytest.raises(OptionError, match="names for this network"):
        save_weights(fused, tmp_path / "x.safetensors", to="timm")
    assert not (tmp_path / "x.safetensors").exists()

"""Checkpoints: every form and wrapper is read, everything else is refused without running code."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgerep.checkpoints.architecture_detection import recognise
from edgerep.checkpoints.format_detection import identify
from edgerep.checkpoints.loading import load
from edgerep.errors import CheckpointError, OptionError
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import RepVGG, random_repvgg
from edgerep.networks.repvgg_architecture import VARIANTS, Architecture

SMALL = Architecture(1, 16, (16, 32, 32), (2, 1, 2), (1, 1, 4, 1, 2, 1), squeeze=True, classes=5)
IMAGE = torch.randn(2, 1, 33, 40, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture(scope="module")
def model() -> RepVGG:
    return random_repvgg(SMALL)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def answers(model: nn.Module) -> Tensor:
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(model).double()(IMAGE)
    return logits


def partly_fused(model: RepVGG) -> RepVGG:
    """The first two blocks fused, the others with their branches."""
    fused = fuse(model, certify=False).module
    mixed = RepVGG(SMALL, plain=("stage0", "stage1.0")).eval()
    both = {**model.state_dict(), **fused.state_dict()}
    mixed.load_state_dict({key: both[key] for key in mixed.state_dict()})
    return mixed


def test_train_fused_and_partly_fused_forms_come_back_unchanged(
    model: RepVGG, tmp_path: Path
) -> None:
    for network, form in (
        (model, "train form"),
        (fuse(model, certify=False).module, "fused form"),
        (partly_fused(model), "partly fused form"),
    ):
        back = load(saved(network.state_dict(), tmp_path / "a.pth"))
        assert back.architecture == SMALL
        assert back.origin.format.endswith(form)
        assert not back.training
        assert torch.equal(answers(back), answers(network))
        save_file(state_of(network), tmp_path / "a.safetensors")
        assert torch.equal(answers(load(tmp_path / "a.safetensors")), answers(network))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"model": s, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
        lambda s: {"state_dict": s},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"model.module.{k}": v for k, v in s.items()}},
        lambda s: {f"backbone.{k}": v for k, v in s.items()},
        lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
    ],
    ids=["model", "state_dict", "nested", "ddp", "compiled", "ddp-compiled", "lightning",
         "backbone", "no-counters"],
)  # fmt: skip
def test_wrappers_and_prefixes_are_taken_off(wrap: Any, model: RepVGG, tmp_path: Path) -> None:
    back = load(saved(wrap(state_of(model)), tmp_path / "a.pth"))
    assert torch.equal(answers(back), answers(model))


@pytest.mark.parametrize(
    ("averaged", "raw", "more"),
    [("state_dict_ema", "state_dict", {}), ("ema", "model", {}),
     ("state_dict", "ema_state_dict", {"meta": {"epoch": 1}})],
    ids=["timm", "official", "mmengine-swaps-them"],
)  # fmt: skip
def test_averaged_weights_are_preferred_and_it_is_said(
    averaged: str, raw: str, more: dict[str, Any], model: RepVGG, tmp_path: Path
) -> None:
    other = random_repvgg(SMALL, seed=9).state_dict()
    back = load(saved({raw: other, averaged: state_of(model), **more}, tmp_path / "a.pth"))
    assert torch.equal(answers(back), answers(model))
    assert f"weights taken from '{averaged}'; left aside: {raw}" in back.origin.notes


def test_half_precision_weights_are_widened_and_it_is_said(model: RepVGG, tmp_path: Path) -> None:
    back = load(saved(copy.deepcopy(model).half().state_dict(), tmp_path / "a.pth"))
    assert next(back.parameters()).dtype == torch.float32
    assert "float16 weights read as float32" in back.origin.notes


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("fused", [False, True])
def test_every_published_variant_is_recognised(name: str, fused: bool) -> None:
    plain = [b.name for b in VARIANTS[name].blocks()] if fused else []
    with torch.device("meta"):
        tensors = RepVGG(VARIANTS[name], plain=plain).state_dict()
    found = recognise(identify(tensors, "x"), "x")
    assert found.architecture.name == name
    assert found.form == ("fused" if fused else "train")


def test_eps_is_the_formats_own_unless_told(model: RepVGG, tmp_path: Path) -> None:
    path = saved(model.state_dict(), tmp_path / "a.pth")
    other = load(path, bn_eps=1e-3)
    assert not torch.allclose(answers(other), answers(model), rtol=1e-6)
    proof = fuse(other).certificate
    assert proof is not None
    assert proof.bn_eps == (1e-3,)
    with pytest.raises(OptionError, match="must be finite and not negative"):
        load(path, bn_eps=-1.0)


def test_every_wrong_key_is_listed_at_once(model: RepVGG, tmp_path: Path) -> None:
    tensors = state_of(model)
    del tensors["stage1.1.rbr_1x1.conv.weight"]
    del tensors["linear.bias"]
    tensors["stage1.1.extra"] = torch.zeros(3)
    tensors["stage2.0.rbr_dense.bn.bias"] = torch.zeros(7)
    with pytest.raises(CheckpointError) as caught:
        load(saved(tensors, tmp_path / "a.pth"))
    message = str(caught.value)
    assert "missing: stage1.1.rbr_1x1.conv.weight [16, 4, 1, 1]" in message
    assert "missing: linear.bias [5]" in message
    assert "unexpected: stage1.1.extra [3]" in message
    assert "misshapen: stage2.0.rbr_dense.bn.bias is [7], should be [32]" in message


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("stage3.1.rbr_identity.weight", float("nan"), "1 NaN values of"),
        ("stage0.rbr_dense.conv.weight", float("inf"), "1 infinite values of"),
        ("stage1.0.rbr_dense.bn.running_var", -1.0, "eps is not positive"),
    ],
)
def test_values_that_no_training_gives_are_refused_by_name(
    key: str, value: float, says: str, model: RepVGG, tmp_path: Path
) -> None:
    tensors = state_of(model)
    tensors[key].view(-1)[0] = value
    with pytest.raises(CheckpointError, match=says) as caught:
        load(saved(tensors, tmp_path / "a.pth"))
    assert key in str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated_files_are_refused(share: float, model: RepVGG, tmp_path: Path) -> None:
    whole = saved(model.state_dict(), tmp_path / "a.pth").read_bytes()
    save_file(state_of(model), tmp_path / "b.safetensors")
    tensors = (tmp_path / "b.safetensors").read_bytes()
    for name, content in (("cut.pth", whole), ("cut.safetensors", tensors)):
        path = tmp_path / name
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CheckpointError, match=name):
            load(path)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_named_and_never_run(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"x": Trap(tmp_path / "sprung")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load(path)
    assert not (tmp_path / "sprung").exists()


def test_whole_models_are_refused_with_the_remedy(model: RepVGG, tmp_path: Path) -> None:
    torch.save(model, tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"torch\.save\(model\.state_dict\(\)"):
        load(tmp_path / "whole.pt")


@pytest.mark.parametrize(
    "content",
    [[1, 2], {}, {"a": 1}, {"state_dict": {"a": "b"}}, nn.Linear(2, 2).state_dict(),
     {"stage0.rbr_reparam.weight": torch.zeros(3), "linear.weight": torch.zeros(2, 2)}],
    ids=["list", "empty", "numbers", "words", "another-network", "no-kernels"],
)  # fmt: skip
def test_other_contents_are_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load(saved(content, tmp_path / "a.pth"))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("weights")
    for name in ("empty.pth", "text.pth", "missing.pth", ""):
        with pytest.raises(CheckpointError):
            load(tmp_path / name)
    with pytest.raises(CheckpointError, match="RepVGG-B1g4"):
        load("repvgg_x1")


def test_missing_blocks_are_named(model: RepVGG, tmp_path: Path) -> None:
    tensors = {k: v for k, v in model.state_dict().items() if not k.startswith("stage3.0.")}
    with pytest.raises(CheckpointError, match=r"blocks are missing: stage3\.0"):
        load(saved(tensors, tmp_path / "a.pth"))

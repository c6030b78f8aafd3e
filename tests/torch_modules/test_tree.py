"""Walks of a tree of modules give what torch's own methods give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import edgerep
from edgerep.torch_modules.tree import every_path, part_at, parts_of, tensors_of


class Tree(nn.Module):
    """A shared module, an absent one, a tied weight and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 3, 1)
        self.first = nn.Sequential(conv, nn.BatchNorm2d(3))
        self.again = self.first
        self.absent: nn.Module | None
        self.register_module("absent", None)
        self.last = nn.Conv2d(3, 3, 1)
        self.last.weight = conv.weight


def test_modules_and_tensors_are_those_that_torch_finds() -> None:
    tree = Tree()
    assert set(parts_of(tree)) == set(tree.modules())
    assert len(parts_of(tree)) == len(list(tree.modules()))
    assert sorted(every_path(tree)) == sorted(tree.named_modules(remove_duplicate=False))
    wanted = {id(tensor) for tensor in (*tree.parameters(), *tree.buffers())}
    assert {id(tensor) for tensor in tensors_of(tree)} == wanted


def test_a_module_is_found_by_its_path() -> None:
    tree = Tree()
    for path, part in tree.named_modules(remove_duplicate=False):
        assert part_at(tree, path) is part
    for path in ("absent", "first.0.weight", "first.7", "nothing.at.all"):
        with pytest.raises(AttributeError, match=path):
            part_at(tree, path)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_part_is_a_module_like_others() -> None:
    tree = nn.Sequential(torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1))))
    assert type(part_at(tree, "0.0")) is type(tree.get_submodule("0.0"))
    with pytest.raises(AttributeError, match="no module"):
        part_at(tree, "0.1")


def test_what_another_name_still_needs_is_kept() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
            self.alias = self.pair
            self.one, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.one(x) + self.other(x))
            x = torch.relu(self.pair[0](x))
            result: torch.Tensor = self.alias[1](x)
            return result

    network = nn.Sequential(Block()).eval()
    fused = edgerep.fuse(network).module
    x = torch.randn(2, 3, 8, 8)
    assert torch.allclose(fused(x), network(x), atol=1e-5)
    block: Any = fused.get_submodule("0")
    assert block.alias is block.pair
    assert not hasattr(block, "other")

"""Random networks, as people write them, through `fuse`: the same answers, never more work.

One check is one network at one size. `EDGEREP_FUZZ=100` draws a hundred times as many, others for
every `--hypothesis-seed`; `EDGEREP_FUZZ_FUSE_OUTPUT=FILE` writes down what was counted.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgerep.errors import FusionError
from edgerep.fusion.algebra import sequence as map_sequence
from edgerep.fusion.algebra.linear_map import LinearMap
from edgerep.fusion.fused import fuse
from edgerep.fusion.operators import composition
from edgerep.fusion.regions import readers, search
from edgerep.fusion.trace import graph_run
from zoo.counting import CONVOLUTIONS
from zoo.fuzzing import fuzz, record
from zoo.random_programs import BATCHES, CHANNELS, SIZES, Program, programs

# torch says this once, and only once: an error would depend on what ran before.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

FUSED = 1e-10  # of the largest number of an output, in float64
EXAMPLES = {2: 450, 1: 150, 3: 100}  # networks by spatial axes
FAULT_EXAMPLES = 700  # among which a planted fault has to show
FAULT_SEED = 5  # with which each shows among the first forty; with others, later
COUNTS: Counter[str] = Counter()


class _Multiplying(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Multiply-adds of convolutions, linear layers and average pools, zeros counted too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name, result = func.overloadpacket.__name__, func(*args, **(kwargs or {}))
        if name in CONVOLUTIONS:
            places = args[0] if args[6] is True else result  # a transposed one visits what it reads
            self.total += places.numel() * args[1][0].numel()
        elif name.startswith("avg_pool"):
            self.total += result.numel() * math.prod(args[1])
        elif name in ("addmm", "mm", "linear"):
            self.total += result.numel() * args[-1].shape[0]
        return result


@torch.no_grad()
def run(network: nn.Module, image: Tensor) -> list[Tensor]:
    """Outputs on a copy of an image."""
    return tree_leaves(network(image.clone()))


def work(network: nn.Module, image: Tensor) -> int:
    """The multiply-adds that an image takes."""
    with _Multiplying() as counter:
        run(network, image)
    return int(counter.total)


def agree(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    return len(found) == len(wanted) and all(
        f.shape == w.shape and bool((f - w).abs().amax() <= FUSED * max(1.0, float(w.abs().amax())))
        for f, w in zip(found, wanted, strict=True)
    )


def check(network: Program, axes: int, certify: bool) -> None:
    """Fuse a network and compare it with itself at every size that it runs on."""
    torch.manual_seed(0)
    images = [
        torch.randn(batch, CHANNELS, *size, dtype=torch.float64)
        for batch, size in zip(BATCHES, SIZES[axes], strict=True)
    ]
    given = images[0].clone()
    before, kinds = copy.deepcopy(network.state_dict()), [type(m) for m in network.modules()]
    fused = fuse(network, inputs=given, certify=certify)
    assert torch.equal(given, images[0])
    assert [type(m) for m in network.modules()] == kinds
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert len(before) == len(network.state_dict())
    COUNTS["networks"] += 1
    if fused.certificate is not None:
        COUNTS["sites"] += len(fused.certificate.blocks)
        COUNTS["sums"] += sum(block.branches > 1 for block in fused.certificate.blocks)
    for image in images:
        try:
            wanted = run(network, image)
        except (RuntimeError, ValueError, IndexError):
            continue  # too small for it, or its values no longer fit together
        if not all(output.numel() for output in wanted):
            continue
        found = run(fused.module, image)
        COUNTS["checks"] += 1
        assert agree(found, wanted), f"other answers at {tuple(image.shape)}"
        if image is images[0]:
            before_it, after_it = work(network, image), work(fused.module, image)
            COUNTS["multiply-adds saved"] += before_it - after_it
            assert after_it <= before_it, f"{after_it} multiply-adds, {before_it} before"


@fuzz(EXAMPLES[2])
@given(programs(2), st.booleans())
def test_a_fused_network_of_images_gives_the_same(network: Program, certify: bool) -> None:
    check(network, 2, certify)


@fuzz(EXAMPLES[1])
@given(programs(1), st.booleans())
def test_a_fused_network_of_signals_gives_the_same(network: Program, certify: bool) -> None:
    check(network, 1, certify)


@fuzz(EXAMPLES[3])
@given(programs(3), st.booleans())
def test_a_fused_network_of_volumes_gives_the_same(network: Program, certify: bool) -> None:
    check(network, 3, certify)


def test_enough_was_checked(pytestconfig: pytest.Config) -> None:
    record("EDGEREP_FUZZ_FUSE_OUTPUT", COUNTS, pytestconfig)
    assert COUNTS["networks"] >= 650, dict(COUNTS)
    assert COUNTS["checks"] >= 2_500, dict(COUNTS)
    assert COUNTS["sites"] >= 150, dict(COUNTS)
    assert COUNTS["sums"] >= 20, dict(COUNTS)


# -- a rule that is dropped is missed --------------------------------------------------------------


def found_within(count: int) -> bool:
    @seed(FAULT_SEED)
    @settings(max_examples=count, deadline=None, database=None,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(programs(2), st.booleans())
    def every(network: Program, certify: bool) -> None:
        check(network, 2, certify)

    try:
        every()
    except (AssertionError, FusionError, RuntimeError):
        return True
    return False


def careless(word: str) -> Callable[..., str | None]:
    """`inexact` without one of its reasons."""
    honest = map_sequence.inexact

    def decide(outer: LinearMap, inner: LinearMap, fill: Tensor | None = None) -> str | None:
        why = honest(outer, inner, fill)
        return None if why is not None and word in why else why

    return decide


# Two rules have tests of their own: `test_a_module_that_also_writes_is_not_replaced` and, for
# the padding of a padded result, `test_fuzz_algebra`.
FAULTS: Mapping[str, tuple[object, str, object]] = {
    "readers of inner values": (readers.Readers, "is_closed", lambda *_: True),
    "writes between two reads": (readers.Readers, "is_steady", lambda *_: True),
    "writes at all": (graph_run, "version_of", lambda tensor: 0),
    "copies of what is written to": (search, "_is_written_copy", lambda *_: False),
    "what folding costs": (search, "_multiply_adds", lambda *_: 1 << 40),
    "the constant before a padding": (composition, "inexact", careless("another value")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_forgotten_rule_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, wrong = FAULTS[fault]
    monkeypatch.setattr(owner, name, wrong)
    assert found_within(FAULT_EXAMPLES)

"""What is done to the networks before they are quantised, and on how many images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import onnx

from int8.stress import with_dead_identities, with_random_scales

Stress = Callable[[onnx.ModelProto], onnx.ModelProto]
CHAINS = ("digits", "repvgg")  # whose layers follow each other with nothing but ReLU between


@dataclass(frozen=True)
class Case:
    """One network in one state.

    Attributes:
        network: A key of `SUBJECTS`.
        state: "healthy", or how it was stressed.
        stress: What is done to its float32 graph first; None for nothing.
        images: To calibrate on.
        bits: Of weights and activations; other than 8 is simulated, by the recipe alone.
        all_peers: ModelOpt too, which takes half a minute.
    """

    network: str
    state: str = "healthy"
    stress: Stress | None = None
    images: int = 256
    bits: int = 8
    all_peers: bool = False

    @property
    def name(self) -> str:
        words = [self.state]
        words += [f"{self.images} images"] if self.images != 256 else []
        words += [f"W{self.bits}A{self.bits}"] if self.bits != 8 else []
        return f"{self.network}: {', '.join(words)}"


def _chain_cases(network: str) -> list[Case]:
    def scaled(decades: int, seed: int, *, all_peers: bool = False) -> Case:
        stress = partial(with_random_scales, decades=decades, seed=seed)
        state = f"scales 10^±{decades}" + (f", seed {seed}" if seed else "")
        return Case(network, state, stress, all_peers=all_peers)

    def dead(one_in: int, *, all_peers: bool = False) -> Case:
        stress = partial(with_dead_identities, eps=1 / one_in)
        return Case(network, f"dead identities 1/{one_in}", stress, all_peers=all_peers)

    return [
        Case(network, all_peers=True),
        Case(network, images=64),
        Case(network, images=16),
        scaled(1, 0, all_peers=True),
        scaled(1, 1),
        scaled(2, 0),
        scaled(2, 1),
        dead(30),
        dead(100, all_peers=True),
        Case(network, bits=6),
    ]


CASES: tuple[Case, ...] = (
    *_chain_cases("repvgg"),
    Case("mixed", all_peers=True),
    Case("mixed", images=64),
    Case("mixed", images=16),
    *_chain_cases("digits"),
)

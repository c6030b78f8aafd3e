"""INT8 that keeps the accuracy: candidates compared on held-out images, the best one taken.

Without labels and without training: activation ranges are evened out, weights are rounded so that
each error is made up for by the next, biases take back the mean error. `plain` is among the
candidates, so that nothing is made worse unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgerep.export.precision.activations import Activations
from edgerep.export.precision.free_scales import FreeScales, free_scales
from edgerep.export.precision.int8.base import Base, rescaled_base, unscaled
from edgerep.export.precision.int8.budget import NO_BUDGET, Budget, kept_to
from edgerep.export.precision.int8.candidate import (
    Candidate,
    rounded_by_itself,
    rounded_in_order,
)
from edgerep.export.precision.int8.comparison import HeldOut
from edgerep.export.precision.int8.equalisation import equalising_scales
from edgerep.export.precision.int8.findings import Int8Findings, Tried
from edgerep.export.precision.int8.ground import Ground, Watch, prepare
from edgerep.export.precision.int8.placement import placement_of, with_kernels
from edgerep.export.precision.int8.qdq_writer import with_pairs
from edgerep.export.precision.int8.steps import largest_steps, searched_steps
from edgerep.export.precision.settings import silent

PLAIN = "plain"
_FEW = 32  # held-out images on which scales are compared, and layers
_LEAST_OF_LARGEST = 0.25  # a channel that fires rarely, and then strongly, needs room for it
# Ways to even out: a name, alpha, and which share of a channel's values its range holds.
_EVENED = (
    ("equalised 0.5", 0.5, 1.0),
    ("equalised 1", 1.0, 1.0),
    ("equalised 0.5, p99.9", 0.5, 0.999),
)
_SEARCHED = "searched steps"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a graph is quantised.

    Attributes:
        keep: Names of layers that stay in floating point.
        without: Stages that are left out: "equalisation", "rounding", "bias".
        budget: What the answers are held to.
        levels: The largest code: 127 is eight bits; fewer simulate narrower formats.
        seed: Of the positions that second moments are taken from.
        threads: Cores that ONNX Runtime may use; 0 leaves its own choice.
    """

    keep: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    budget: Budget = NO_BUDGET
    levels: int = 127
    seed: int = 0
    threads: int = 0


AS_IT_IS = Recipe()


def quantise(
    model: onnx.ModelProto,
    images: Any,
    *,
    batch: int | None = None,
    recipe: Recipe = AS_IT_IS,
    watch: Watch = silent,
) -> tuple[onnx.ModelProto, Int8Findings]:
    """A graph in eight bits: Q/DQ pairs, int8 weights, float32 biases.

    Memory is bounded by what one batch of images makes of all tensors, by the codes of the widest
    place of the graph for all images, and by three matrices of 4608 x 4608.

    Args:
        model: A graph of float32 with one input, its preprocessing included.
        images: What it takes, [N, C, H, W]; sliced, never taken as a whole.
        batch: The only size of a batch that it takes; None where it is open.
        recipe: How.
        watch: Told what is done, and how far it is.

    Returns:
        The quantised graph, and what was found.

    Raises:
        DataError: There are fewer than two images.
        OptionError: A layer of `recipe.keep` is none.
        OnnxError: ONNX Runtime cannot run the graph.
        ParityError: The budget cannot be kept.
    """
    placement = with_kernels(placement_of(model, recipe.keep), model)
    ground = prepare(model, placement, images, batch=batch, threads=recipe.threads, watch=watch)
    held_out = HeldOut(ground, recipe.threads)
    free = free_scales(model)
    few = HeldOut(ground, recipe.threads, most=_FEW)
    made = _candidates(ground, free, few, recipe, watch)
    found = {name: held_out.likeness(one.model()) for name, one in made.items()}
    chosen = max(found, key=lambda name: found[name].sqnr_db)
    if not recipe.budget.is_open:
        made[chosen], found[chosen] = kept_to(
            recipe.budget, made[chosen], found[chosen], held_out, watch
        )
    taken = made[chosen]
    findings = Int8Findings(
        chosen=chosen,
        candidates=tuple(Tried(name, found[name]) for name in made),
        layers=few.layers(made, chosen),
        kept=taken.placement.kept,
        not_equalised={
            pair.tensor: free.fixed[pair.tensor]
            for pair in placement.pairs
            if pair.tensor in free.fixed and "equalisation" not in recipe.without
        },
        equalised=free.count - 1 if taken.base.free is not None else 0,
        images=ground.images,
        held_out=ground.others,
    )
    return taken.model(), findings


def _candidates(
    ground: Ground, free: FreeScales, held_out: HeldOut, recipe: Recipe, watch: Watch
) -> dict[str, Candidate]:
    """Plain; evened out; and that rounded in order, as far as the recipe has these stages."""
    levels = recipe.levels
    plain = unscaled(ground.model)
    made = {
        PLAIN: rounded_by_itself(ground, plain, largest_steps(ground, plain, levels), levels=levels)
    }
    stages = [stage for stage in ("rounding", "bias") if stage not in recipe.without]
    if "equalisation" in recipe.without:
        name, base, steps = PLAIN, plain, dict(made[PLAIN].steps)
    else:
        name, base, steps = _best_base(ground, free, held_out, recipe, made[PLAIN], watch)
    if name != PLAIN:
        made[name] = rounded_by_itself(ground, base, steps, levels=levels)
    if stages:
        joined = " + ".join([*([name] if name != PLAIN else []), *stages])
        made[joined] = rounded_in_order(
            ground, base, steps, stages, levels=levels, seed=recipe.seed, threads=recipe.threads,
            watch=watch,
        )  # fmt: skip
    return made


def _best_base(
    ground: Ground,
    free: FreeScales,
    held_out: HeldOut,
    recipe: Recipe,
    plain: Candidate,
    watch: Watch,
) -> tuple[str, Base, dict[int, float]]:
    """The scales and steps with which quantised activations, by themselves, do least harm.

    Where no scale is open, the steps alone are searched, those of `plain` among them. The rounding
    of weights comes later, and makes up for most of its own harm.
    """
    ways = _EVENED if _is_open(free, ground) else ()
    tried: dict[str, tuple[Base, dict[int, float]]] = {}
    if not ways:
        tried[PLAIN] = plain.base, dict(plain.steps)
        tried[_SEARCHED] = plain.base, _searched(ground, plain.base, recipe)
    for at, (name, alpha, share) in enumerate(ways):
        watch("comparing of scales", at, len(ways))
        ranges = {
            pair.tensor: _range(ground.seen[pair.tensor], share) for pair in ground.placement.pairs
        }
        base = rescaled_base(
            ground.model, free, equalising_scales(ground.model, free, ranges, alpha)
        )
        tried[name] = base, _searched(ground, base, recipe)
    found = {
        name: held_out.likeness(with_pairs(base.model, ground.placement.pairs, steps)).sqnr_db
        for name, (base, steps) in tried.items()
    }
    best = max(found, key=lambda name: found[name])
    return best, *tried[best]


def _is_open(free: FreeScales, ground: Ground) -> bool:
    """Whether a channel of what is quantised may be rescaled at all."""
    return any(
        free.variables[pair.tensor].any()
        for pair in ground.placement.pairs
        if pair.tensor in free.variables
    )


def _searched(ground: Ground, base: Base, recipe: Recipe) -> dict[int, float]:
    return searched_steps(
        ground, base, levels=recipe.levels, seed=recipe.seed, threads=recipe.threads
    )


def _range(seen: Activations, share: float) -> NDArray[np.float64]:
    """The range of each channel of a tensor that is evened out, [C]."""
    return np.maximum(seen.quantile(share), _LEAST_OF_LARGEST * seen.largest)

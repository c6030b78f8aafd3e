"""INT8 that keeps the accuracy: candidates compared on held-out images, the best one taken.

Without labels and without training: activation ranges are evened out, weights are rounded so that
each error is made up for by the next, biases take back the mean error. `plain` is among the
candidates, so that nothing is made worse unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from edgerep.export.precision.free_scales import free_scales
from edgerep.export.precision.int8.budget import NO_BUDGET, Budget, kept_to
from edgerep.export.precision.int8.candidate import (
    Base,
    Candidate,
    rescaled_base,
    rounded_by_itself,
    rounded_in_order,
    unscaled,
)
from edgerep.export.precision.int8.comparison import HeldOut
from edgerep.export.precision.int8.equalisation import equalising_scales
from edgerep.export.precision.int8.findings import Int8Findings, Tried
from edgerep.export.precision.int8.ground import Ground, Watch, prepare
from edgerep.export.precision.int8.placement import placement_of
from edgerep.export.precision.settings import silent

PLAIN = "plain"
_ALPHAS = (0.5, 1.0)
_HEAD_ROOM = 1.15
_QUANTILE = 0.999


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
    placement = placement_of(model, recipe.keep)
    ground = prepare(model, placement, images, batch=batch, threads=recipe.threads, watch=watch)
    held_out = HeldOut(ground, recipe.threads)
    free = free_scales(model)
    bases = _bases(ground, recipe)
    made: dict[str, Candidate] = {}
    found = {}
    for at, (name, base) in enumerate(bases.items()):
        watch("comparing of candidates", at, len(bases))
        room = 1.0 if name == PLAIN else _HEAD_ROOM
        made[name] = rounded_by_itself(ground, base, head_room=room, levels=recipe.levels)
        found[name] = held_out.likeness(made[name])
    stages = [stage for stage in ("rounding", "bias") if stage not in recipe.without]
    if stages:
        best = max(found, key=lambda name: found[name].sqnr_db)
        name = " + ".join([*([best] if best != PLAIN else []), *stages])
        made[name] = rounded_in_order(
            ground, bases[best], stages, head_room=_HEAD_ROOM, levels=recipe.levels,
            seed=recipe.seed, threads=recipe.threads, watch=watch,
        )  # fmt: skip
        found[name] = held_out.likeness(made[name])
    chosen = max(found, key=lambda name: found[name].sqnr_db)
    if not recipe.budget.is_open:
        made[chosen], found[chosen] = kept_to(
            recipe.budget, made[chosen], found[chosen], held_out, watch
        )
    taken = made[chosen]
    findings = Int8Findings(
        chosen=chosen,
        candidates=tuple(Tried(name, found[name]) for name in made),
        layers=held_out.layers(made, chosen),
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


def _bases(ground: Ground, recipe: Recipe) -> dict[str, Base]:
    """The float graphs that candidates begin with: the given one, and evened out."""
    bases = {PLAIN: unscaled(ground.model)}
    if "equalisation" in recipe.without:
        return bases
    free = free_scales(ground.model)
    ranges = {
        pair.tensor: ground.seen[pair.tensor].quantile(_QUANTILE) for pair in ground.placement.pairs
    }
    for alpha in _ALPHAS:
        scales = equalising_scales(ground.model, free, ranges, alpha)
        bases[f"equalised {alpha:g}"] = rescaled_base(ground.model, free, scales)
    return bases

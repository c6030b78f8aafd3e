"""What a comparison found of an artefact: values, and their JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from edgerep.bench.parity.figures.tolerance import Tolerance
from edgerep.bench.parity.int8_findings import LayerParity, StepParity
from edgerep.bench.parity.output_findings import BatchParity, ChoiceParity, OutputParity


@dataclass(frozen=True, slots=True)
class EmulatedParity:
    """A float16 file as a device computes it, emulated: every result rounded.

    Attributes:
        accumulators: In which type products are summed: "float32", or "float16" as the poorest
            hardware does.
        how: What computed it, in one sentence.
        decides: Whether the artefact passes only if this does; else it is for information.
        probes: How many were run.
        outputs: Every output by itself.
        choices: As of the artefact.
    """

    accumulators: str
    how: str
    decides: bool
    probes: int
    outputs: tuple[OutputParity, ...]
    choices: tuple[ChoiceParity, ...] = ()

    @property
    def passed(self) -> bool:
        return all(o.passed for o in self.outputs) and all(c.passed for c in self.choices)

    @property
    def worst(self) -> OutputParity:
        return max(self.outputs, key=lambda output: output.severity)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "outputs": [output.to_json() for output in self.outputs],
            "choices": [choice.to_json() for choice in self.choices],
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True)
class QuantisedParity:
    """An int8 artefact beside the Q/DQ graph it was made from, and beside the float network.

    Attributes:
        graph: The name of the Q/DQ graph that was evaluated in exact arithmetic; None where it is
            not at hand.
        why_not: Why the artefact is not that graph, or why nothing was compared with it.
        is_that_graph: False where `why_not` is a fault.
        outputs: Each output against the exact evaluation with the artefact's integers.
        steps: Each quantiser against it.
        layers: The weights of each layer against the float network's, where that is at hand.
        requirement: Where the bounds beside the float network come from, in words; "" where it was
            not compared with one.
        odd_pairs: Pairs of its graph that round by one scale or zero point and give back by
            another, in words.
    """

    graph: str | None
    why_not: str
    is_that_graph: bool
    outputs: tuple[OutputParity, ...]
    steps: tuple[StepParity, ...]
    layers: tuple[LayerParity, ...]
    requirement: str
    odd_pairs: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        exact = all(o.passed for o in self.outputs) and all(s.passed for s in self.steps)
        sound = self.is_that_graph and not self.odd_pairs
        return sound and exact and all(layer.passed for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "outputs": [output.to_json() for output in self.outputs],
            "steps": [step.to_json() for step in self.steps],
            "layers": [layer.to_json() for layer in self.layers],
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True)
class ArtefactParity:
    """One artefact against the reference; the figures are those of its worst output.

    Attributes:
        path: The file as it was given; the name of a module.
        runtime: What ran it, or would have.
        precision: "fp32", "fp16", ...
        ran: False for an artefact that cannot be run on this machine: it has not passed.
        why_not: Why it was not run; None where it was.
        how: What computed the answers, in one sentence; empty where it was not run.
        tolerance: Of the worst output; None where it was not run.
        batches: The worst output's comparison at each batch size, passed only if all outputs have.
        probes: How many probes of each kind were used.
        outputs: Every output by itself, in the order of the artefact.
        images_given: How many images of their own the user gave, of which `probes` says how many
            were compared.
        choices: Those that were followed: behind them the outputs are compared with the reference
            that made the same choices.
        choices_unfollowed: How many more choices the reference makes, which this runtime does not
            show or has not, and which rounding may turn.
        unfollowed_outputs: The outputs that hang on these.
        overflow: Which layer gives a number that float16 cannot hold, in one sentence; None where
            there is none, or where nothing could be looked at.
        emulated: What emulation says of a file whose number types this runtime widens.
        not_emulated: Why it could not be emulated, where it should have been.
        quantised: What was found of an int8 artefact; None for others.
    """

    path: str
    runtime: str
    precision: str
    ran: bool
    why_not: str | None
    how: str
    tolerance: Tolerance | None
    batches: tuple[BatchParity, ...]
    probes: dict[str, int]
    outputs: tuple[OutputParity, ...]
    images_given: int = 0
    choices: tuple[ChoiceParity, ...] = ()
    choices_unfollowed: int = 0
    unfollowed_outputs: tuple[str, ...] = ()
    overflow: str | None = None
    emulated: tuple[EmulatedParity, ...] = ()
    not_emulated: str | None = None
    quantised: QuantisedParity | None = None

    @classmethod
    def of(
        cls,
        outputs: tuple[OutputParity, ...],
        *,
        path: str,
        runtime: str,
        precision: str,
        how: str,
        probes: dict[str, int],
        images_given: int = 0,
        choices: tuple[ChoiceParity, ...] = (),
        choices_unfollowed: int = 0,
        unfollowed_outputs: tuple[str, ...] = (),
        overflow: str | None = None,
        emulated: tuple[EmulatedParity, ...] = (),
        not_emulated: str | None = None,
        quantised: QuantisedParity | None = None,
    ) -> ArtefactParity:
        """The result of an artefact that ran, with the figures of its worst output."""
        worst = max(outputs, key=lambda output: output.severity)
        return cls(
            path=path,
            runtime=runtime,
            precision=precision,
            ran=True,
            why_not=None,
            how=how,
            tolerance=worst.tolerance,
            batches=tuple(
                replace(
                    batch,
                    passed=overflow is None
                    and (quantised is None or quantised.passed)
                    and all(one.passed for one in emulated if one.decides)
                    and all(output.batches[index].passed for output in outputs),
                )
                for index, batch in enumerate(worst.batches)
            ),
            probes=probes,
            outputs=outputs,
            images_given=images_given,
            choices=choices,
            choices_unfollowed=choices_unfollowed,
            unfollowed_outputs=unfollowed_outputs,
            overflow=overflow,
            emulated=emulated,
            not_emulated=not_emulated,
            quantised=quantised,
        )

    @property
    def images_compared(self) -> int:
        """How many images of the user's own were compared."""
        return self.probes.get("calibration", 0)

    @property
    def worst(self) -> OutputParity | None:
        """The output whose figures stand for the artefact; None where it was not run."""
        return max(self.outputs, key=lambda output: output.severity, default=None)

    @property
    def passed(self) -> bool:
        compared = self.overflow is None and all(batch.passed for batch in self.batches)
        compared &= all(one.passed for one in self.emulated if one.decides)
        compared &= self.quantised is None or self.quantised.passed
        return self.ran and compared and all(choice.passed for choice in self.choices)

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["choices"] = [choice.to_json() for choice in self.choices]
        fields["batches"] = [batch.to_json() for batch in self.batches]
        fields["outputs"] = [output.to_json() for output in self.outputs]
        fields["emulated"] = [one.to_json() for one in self.emulated]
        fields["quantised"] = None if self.quantised is None else self.quantised.to_json()
        fields["passed"] = self.passed if self.ran else None
        fields["images_compared"] = self.images_compared
        return fields

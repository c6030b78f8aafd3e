"""The comparison of several artefacts with one reference, and its JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgerep.artefacts.kinds import SCHEMA
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.words import as_exported_in_words, failures_of, notes_of
from edgerep.errors import ParityError
from edgerep.outside.json_text import finite_json


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The comparison of several artefacts with one reference.

    Attributes:
        reference: The name of the reference.
        artefacts: In the order they were given.
        reference_kind: "network", as it was trained; or "onnx", and then nothing is said about
            the network that the ONNX file was exported from.
        reference_as_exported: What the network answers otherwise when it is exported, because its
            code asks whether it is: the reference is then the network as exported. None where it
            answers the same.
    """

    reference: str
    artefacts: tuple[ArtefactParity, ...]
    reference_kind: str = "network"
    reference_as_exported: str | None = None

    @property
    def ran(self) -> bool:
        """Whether anything could be run at all."""
        return any(artefact.ran for artefact in self.artefacts)

    @property
    def passed(self) -> bool:
        """Everything that could be run here passed, and something could."""
        return self.ran and all(artefact.passed for artefact in self.artefacts if artefact.ran)

    def require(self) -> None:
        """Raise unless the report passed.

        Raises:
            ParityError: An artefact that ran disagrees, or nothing ran; each artefact, output and
                batch that failed is named, with its error and bound.
        """
        if self.passed:
            return
        otherwise = as_exported_in_words(self.reference_as_exported)
        lines = [line for artefact in self.artefacts for line in failures_of(artefact)]
        raise ParityError(
            f"not in agreement with {self.reference}{otherwise}:\n  "
            + "\n  ".join(lines or ["nothing ran"])
        )

    def to_json(self) -> dict[str, Any]:
        """The fields of `edgerep verify --json`."""
        tolerances = {a.precision: asdict(a.tolerance) for a in self.artefacts if a.tolerance}
        fields = {
            "schema": SCHEMA,
            "passed": self.passed,
            "reference": self.reference,
            "reference_kind": self.reference_kind,
            "reference_as_exported": self.reference_as_exported,
            "artefacts": [
                {**artefact.to_json(), "notes": notes_of(artefact)} for artefact in self.artefacts
            ],
            "tolerance": tolerances,
        }
        result: dict[str, Any] = finite_json(fields)
        return result

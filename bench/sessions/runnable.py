"""Anything that can be run, as parity and the bench see it: what it is, its ends, how it opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.sessions.session import Session
from edgerep.data.preprocessing import (
    NO_PREPROCESSING,
    Preprocessing,
)
from edgerep.export.graph.decisions import GraphDecision

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False, kw_only=True)
class Runnable:
    """One network in one form for one runtime: what parity and the bench need to know about it.

    Attributes:
        kind: "onnx", "engine", "coreml", "weights" or "module".
        name: Of the file or the network, for people.
        path: The file or package; None for a module that is only in memory.
        form: "fused", "unfused", "unfused-folded" or "unknown".
        runtime: What would run it; the session that is opened says what did.
        precision: "fp32", "fp16", ...
        batch: The batch sizes it is made for.
        any_batch: It takes any other batch size too.
        inputs: In the order of `Session.run`; None in a shape is the dynamic batch.
        outputs: In the order of `Session.run`; empty where only running it tells.
        network: SHA-256 of the checkpoint it came from; None where that is not known.
        graph: SHA-256 of the ONNX file it was made from; None where that is not known, or where it
            is one itself.
        noted: What its graph notes of how it was made.
        preprocessing: What it does to its image itself.
        probabilities: It ends in a softmax that the network does not have.
        random: Its operators that draw random numbers.
        why_not: Why it cannot be run here, in one sentence; None where it can.
        module: The module, where PyTorch runs it.
        opener: Opens a session, given a number of cores (0: the runtime's own choice) and a
            device; a runtime without such a choice passes over them.
        observer: Opens a session that also gives tensors inside the graph, by their names, behind
            the outputs; None where the runtime cannot.
        emulator: Opens a session that emulates the narrower number types of the file, and also
            gives tensors inside the graph; None where the runtime computes in these types itself,
            or there are none.
        choices: Where its graph decides, by tensors that `observer` gives.
    """

    kind: str
    name: str
    path: Path | None = None
    form: str
    runtime: str
    precision: str
    batch: BatchProfile
    any_batch: bool = False
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    network: str | None
    graph: str | None = None
    noted: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing = NO_PREPROCESSING
    probabilities: bool = False
    random: tuple[str, ...] = ()
    why_not: str | None = None
    module: nn.Module | None = None
    opener: Callable[[int, str], Session]
    observer: Callable[[Sequence[str]], Session] | None = None
    emulator: Callable[[Sequence[str]], Session] | None = None
    choices: Callable[[], Sequence[GraphDecision]] = tuple

    @property
    def title(self) -> str:
        """What a message calls it: the path as given, or the name."""
        return str(self.path or self.name)

    def open(self, *, threads: int = 0, device: str = "cpu") -> Session:
        """A new session, to be closed by the caller.

        Args:
            threads: CPU cores for one operation, in PyTorch and ONNX Runtime; 0 leaves the
                runtime's own choice.
            device: Where a torch module runs.

        Raises:
            MissingRuntimeError: The runtime or the device is not here.
            EdgerepError: The runtime refuses the file.
        """
        return self.opener(threads, device)

    def takes(self, batch: int) -> bool:
        """Whether it can be run at this batch size."""
        return self.any_batch or self.batch.smallest <= batch <= self.batch.largest

"""The one protocol by which parity and the bench run anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgerep.artefacts.tensors import Array

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class Overflow:
    """A result that was finite before it was rounded to its type, and is infinite after it.

    Attributes:
        at: Its place in the graph: the first is what all others may follow from.
        node: The name of the node, or of its tensor.
        operator: Of the node.
        source: The line of the user's code that it comes from, or "".
        largest: Its largest magnitude before it was rounded.
        sums: It is of a layer or a sum, in which no number is large on purpose, as in a mask.
    """

    at: int
    node: str
    operator: str
    source: str
    largest: float
    sums: bool


class Session(Protocol):
    """What runs one runnable: arrays to arrays; a context manager that closes it.

    Attributes:
        runtime: Short name for tables and JSON: "torch", "onnxruntime", "tensorrt",
            "tensorrt-rtx", "coreml", "mil-reference", "emulated".
        how: One sentence saying what really computed the answer, for reports.
        overflows: What the last run could not hold, in the order of the graph; only a runtime
            that sees its own numbers before it rounds them can say.
    """

    runtime: str
    how: str
    overflows: tuple[Overflow, ...]

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Outputs in the order of the graph or the module, in new arrays that the caller owns."""
        ...

    def bind(self, *inputs: Array) -> Callable[[], None]:
        """A call that runs one complete inference on `inputs` and returns when it has finished.

        The bench times this call: `inputs` are placed beforehand where the runtime wants them.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class OwnedSession:
    """Base of the sessions: closes on exit; `bind` gives a call that runs and drops the outputs."""

    runtime = ""
    how = ""
    overflows: tuple[Overflow, ...] = ()

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        raise TypeError(f"{type(self).__name__} does not say how it runs")

    def bind(self, *inputs: Array) -> Callable[[], None]:
        held = tuple(np.ascontiguousarray(array) for array in inputs)

        def once() -> None:
            self.run(*held)

        return once

    def close(self) -> None:
        """Release what the session holds; called once, also after an error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

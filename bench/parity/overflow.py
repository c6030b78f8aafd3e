"""Numbers that float16 cannot hold, in a float16 file that this runtime computes in float32.

ONNX Runtime on a CPU widens float16 layers to float32 and drops the casts between them, so that a
number above 65504 passes on its way through the graph; on a GPU or a phone it is infinite. Asked
for as an output, each tensor is cast to float16, and shows what a device would hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgerep.artefacts.batches import batches_of
from edgerep.artefacts.tensors import Array
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.session import Session
from edgerep.export.graph.inner_tensors import sums_in


@dataclass(eq=False)
class OverflowWatch:
    """Runs a float16 file once more, and looks at the tensors inside of it.

    Attributes:
        session: Gives every tensor in `sums`, and what it is computed from, behind the outputs.
        names: Of these tensors, in the order of the session.
        sums: The tensors that layers and additions compute, and from which.
        size: The batch size to run.
        tensor: The first that was not finite though all it is computed from was; "" if none.
        probes: On how many probes that was so.
    """

    session: Session
    names: tuple[str, ...]
    sums: Mapping[str, tuple[str, ...]]
    size: int
    tensor: str = ""
    probes: int = field(default=0)

    def look(self, inputs: Sequence[Array]) -> None:
        """Run a block of probes."""
        count = len(inputs[0])
        over = np.zeros(count, bool)
        for order in batches_of(count, self.size):
            found = self.session.run(*(array[order] for array in inputs))
            finite = {
                name: np.isfinite(array.reshape(self.size, -1)).all(1)
                for name, array in zip(self.names, found[-len(self.names) :], strict=True)
                if array.dtype == np.float16 and array.shape[:1] == (self.size,)
            }
            for name, sources in self.sums.items():
                if name not in finite:
                    continue
                bad = ~finite[name]
                for source in sources:
                    bad &= finite.get(source, True)
                if bad.any():
                    self.tensor = self.tensor or name
                    over[order[bad]] = True
        self.probes += int(over.sum())


def overflow_watch(runnable: Runnable) -> OverflowWatch | None:
    """What looks for overflow in an artefact; None where it cannot or need not be looked for.

    Raises:
        EdgerepError: The runtime refuses the file.
    """
    wanted = runnable.kind == "onnx" and runnable.precision == "fp16"
    if not wanted or runnable.observer is None or runnable.path is None:
        return None
    sums = sums_in(runnable.path)
    given = {spec.name for spec in runnable.inputs}
    names = dict.fromkeys(name for one, sources in sums.items() for name in (one, *sources))
    asked = tuple(name for name in names if name not in given)
    if not asked:
        return None
    return OverflowWatch(runnable.observer(asked), asked, sums, runnable.batch.smallest)

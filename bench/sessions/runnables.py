"""Any network, and any file edgerep made, as something that can be run: its ends, how it opens."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgerep.artefacts.artefact import Artefact
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.kinds import kind_of, suffixes_of
from edgerep.artefacts.records import read_record
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.sessions.session import Session
from edgerep.data.preprocessing import (
    NO_PREPROCESSING,
    Preprocessing,
    preprocessing_from,
    preprocessing_of,
)
from edgerep.errors import EdgerepError
from edgerep.export.graph.onnx_file import Graph, open_graph

if TYPE_CHECKING:
    from torch import nn

    from edgerep.networks.interface import InputShapes
    from edgerep.networks.network import Origin


@dataclass(frozen=True, eq=False, kw_only=True)
class Runnable:
    """One network in one form for one runtime: what parity and the bench need to know of it.

    Attributes:
        kind: "onnx", "engine", "coreml", "weights" or "module".
        name: Of the file or the network, for people.
        path: The file or package; None for a module that is only in memory.
        form: "fused", "unfused", "unfused-folded" or "unknown".
        runtime: What would run it; the session that is opened says what did.
        precision: "fp32", "fp16", ...
        batch: The sizes it is made for.
        any_batch: It takes any other size too.
        inputs: As it takes them.
        outputs: As it gives them; empty where only running it tells.
        network: SHA-256 of the checkpoint it came from; None where that is not known.
        preprocessing: What is inside it.
        probabilities: It ends in a softmax that the network does not have.
        why_not: Why it cannot be run here, in one sentence; None where it can.
        module: The module, where PyTorch runs it.
        opener: A new session on a number of cores (0: the runtime's own choice) and a device;
            runtimes that have no such choice take none of the two.
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
    preprocessing: Preprocessing = NO_PREPROCESSING
    probabilities: bool = False
    why_not: str | None = None
    module: nn.Module | None = None
    opener: Callable[[int, str], Session]

    @property
    def title(self) -> str:
        """What a message calls it: the path as given, or the name."""
        return str(self.path or self.name)

    def open(self, *, threads: int = 0, device: str = "cpu") -> Session:
        """A new session.

        Args:
            threads: CPU cores for one operation; 0 leaves the runtime's own choice.
            device: Where a torch module runs.

        Raises:
            MissingRuntimeError: The runtime or the device is not here.
            EdgerepError: The runtime refuses the file.
        """
        return self.opener(threads, device)

    def takes(self, batch: int) -> bool:
        """Whether it can be run with so many samples at once."""
        return self.any_batch or self.batch.smallest <= batch <= self.batch.largest


def open_runnable(
    source: Artefact | Path | str, *, size: int | tuple[int, int] | None = None
) -> Runnable:
    """Describe a file, given as a path or as what an export function returned.

    Args:
        source: The file.
        size: Of the images for fused weights, whose file says none; if omitted, a size that keeps
            a comparison short.

    Raises:
        EdgerepError: The file is not one of the kinds that edgerep makes, or is damaged.
    """
    path = source.path if isinstance(source, Artefact) else Path(source)
    kind = kind_of(path)
    if kind == "onnx":
        return _graph(source if isinstance(source, Graph) else open_graph(path))
    if kind == "engine":
        return _engine(path)
    if kind == "coreml":
        return _package(path)
    if kind == "weights":
        return _weights(path, size)
    raise EdgerepError(
        f"{path} is no artefact that can be run: edgerep runs {suffixes_of('onnx', 'coreml')}, "
        f"{suffixes_of('engine')} and fused weights ({suffixes_of('weights')})"
    )


def runnable_module(
    module: nn.Module,
    *,
    form: str,
    size: int | tuple[int, int],
    shapes: InputShapes | None = None,
    known: Sequence[Any] = (),
    origin: Origin | None = None,
    path: Path | None = None,
) -> Runnable:
    """Describe a torch module.

    Args:
        module: Of any class.
        form: "fused" or "unfused".
        size: Of the image, for a network that takes one.
        shapes: Of what it takes else, as for `edgerep.export_onnx`.
        known: Inputs that it was run on, where there are some.
        origin: Where it came from, if the module itself does not know.
        path: Of the file of weights that it was read from.
    """
    from edgerep.bench.sessions.torch_session import TorchSession, module_precision
    from edgerep.networks.interface import interface_of
    from edgerep.networks.network import origin_of

    precision = module_precision(module)
    dtype = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp64": "float64"}[precision]
    origin = origin or origin_of(module)
    interface = interface_of(module, size=size, shapes=shapes, known=known)
    return Runnable(
        kind="module" if path is None else "weights",
        name=origin.source if origin else type(module).__name__,
        path=path,
        form=form,
        runtime=TorchSession.runtime,
        precision=precision,
        batch=BatchProfile(1, 1, 1),
        any_batch=True,
        inputs=tuple(TensorSpec(spec.name, "float32", (None, *spec.shape)) for spec in interface),
        network=origin.sha256 if origin else None,
        module=module,
        opener=lambda threads, device: TorchSession(
            module, device=device, threads=threads, dtype=dtype
        ),
    )


def form_of(module: nn.Module) -> str:
    """A network of edgerep's own without BatchNorms is fused; any other counts as unfused."""
    from edgerep.networks.network import Network
    from edgerep.torch_modules.layer_kinds import BATCHNORMS

    norms = any(isinstance(part, BATCHNORMS) for part in module.modules())
    return "fused" if isinstance(module, Network) and not norms else "unfused"


def _graph(graph: Graph) -> Runnable:
    def opener(threads: int, device: str) -> Session:
        from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

        return OnnxRuntimeSession(graph.path, threads=threads)

    return Runnable(
        **_of_file(graph),
        runtime="onnxruntime",
        any_batch=any(spec.shape[:1] == (None,) for spec in graph.inputs),
        preprocessing=preprocessing_from(graph.options),
        why_not=_missing("onnxruntime", "bench"),
        opener=opener,
    )


def _engine(path: Path) -> Runnable:
    from edgerep.bench.sessions.engine.conditions import why_not
    from edgerep.bench.sessions.tensorrt_session import TensorrtSession
    from edgerep.export.engine.engine_file import open_engine

    engine = open_engine(path)
    return Runnable(
        **_of_file(engine),
        runtime=engine.runtime,
        preprocessing=preprocessing_of(engine.made_from),
        why_not=why_not(path),
        opener=lambda threads, device: TensorrtSession(path),
    )


def _package(path: Path) -> Runnable:
    from edgerep.bench.sessions.coreml_session import open_coreml
    from edgerep.export.coreml.package import open_package

    package = open_package(path)
    return Runnable(
        **_of_file(package),
        runtime="coreml" if sys.platform == "darwin" else "mil-reference",
        preprocessing=preprocessing_of(package.made_from),
        probabilities=package.softmax == "appended",
        opener=lambda threads, device: open_coreml(path),
    )


def _weights(path: Path, size: int | tuple[int, int] | None) -> Runnable:
    from edgerep.checkpoints.loading import load

    record = read_record(path)
    if record is not None and any(entry.get("network") for entry in record.made_from):
        raise EdgerepError(
            f"{path} holds fused weights of an own network, and only that network, fused again, "
            f"can be given them: compare what was exported from it (.onnx, .engine, .mlpackage)"
        )
    model = load(path)
    return runnable_module(model, form=form_of(model), size=size or 2 * model.stride + 1, path=path)


def _of_file(artefact: Artefact) -> Mapping[str, Any]:
    """What all files say of themselves in the same words."""
    sources = artefact.made_from
    return {
        "kind": artefact.kind,
        "name": artefact.path.name,
        "path": artefact.path,
        "form": artefact.form,
        "precision": artefact.precision,
        "batch": artefact.batch,
        "inputs": artefact.inputs,
        "outputs": artefact.outputs,
        "network": sources[-1].get("sha256") if sources else None,
    }


def _missing(package: str, extra: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install 'edgerep[{extra}]'"
    return None

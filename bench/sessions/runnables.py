"""Any network, and any file that edgerep made, described as a `Runnable`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgerep.artefacts.artefact import Artefact
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.kinds import kind_of, suffixes_of
from edgerep.artefacts.records import read_record
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.sessions.runnable import Runnable
from edgerep.bench.sessions.session import Session
from edgerep.data.preprocessing import (
    preprocessing_from,
    preprocessing_of,
)
from edgerep.errors import EdgerepError, path_given
from edgerep.export.graph.decisions import GraphDecision, decisions_in
from edgerep.export.graph.onnx_file import Graph, open_graph

if TYPE_CHECKING:
    from torch import nn

    from edgerep.networks.interface import InputShapes
    from edgerep.networks.network import Origin


def open_runnable(source: Artefact | Path | str | Runnable) -> Runnable:
    """Describe a file that can be run, given as a path or as what an export function returned.

    Args:
        source: The file; what is a runnable already is returned. Weights, whose file says no size
            of images, get one that keeps a comparison short.

    Raises:
        EdgerepError: The file is not one of the kinds that edgerep runs, is damaged, or holds
            fused weights of a network of the user's own; or its record is not its own.
    """
    if isinstance(source, Runnable):
        return source
    path = (
        source.path
        if isinstance(source, Artefact)
        else path_given(source, "an artefact is a path, or what an export function returned")
    )
    kind = kind_of(path)
    if kind == "onnx":
        return _graph(source if isinstance(source, Graph) else open_graph(path))
    if kind == "engine":
        return _engine(path)
    if kind == "coreml":
        return _package(path)
    if kind == "weights":
        return _weights(path)
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
    """Describe a torch module as a runnable.

    Args:
        module: Of any class.
        form: "fused" or "unfused".
        size: Side, or height and width, of the image, for a module that takes one image.
        shapes: Of its inputs without the batch, in the order of `forward` or by the names of its
            parameters; None for one image.
        known: Inputs that the module was run on, the batch first, where there are some.
        origin: Where the module came from, if the module itself does not know.
        path: The file of weights that the module was read from.

    Raises:
        OptionError: The shapes do not fit `forward`.
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


# Of ONNX, that draw random numbers whenever they are run.
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
     "RandomUniformLike"}
)  # fmt: skip


_NARROW = ("fp16",)  # what ONNX Runtime widens on a CPU
_WITHOUT_KERNELS = ("bf16",)  # what it does not compute there


def _graph(graph: Graph) -> Runnable:
    # Beyond that ONNX Runtime 1.32 takes E4M3 for integers and computes something else.
    level = "basic" if graph.precision == "fp8" else "all"

    def opener(threads: int, device: str) -> Session:
        from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

        return OnnxRuntimeSession(graph.path, threads=threads, optimization=level)

    def observer(also: Sequence[str]) -> Session:
        from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession

        return OnnxRuntimeSession(graph.path, also=also, optimization=level)

    def emulator(also: Sequence[str]) -> Session:
        from edgerep.bench.sessions.emulated_session import EmulatedSession

        return EmulatedSession(graph.path, also=also)

    # ONNX Runtime's CPU has hardly a kernel for bfloat16: what can be run is the emulation alone.
    foreign = graph.precision in _WITHOUT_KERNELS
    return Runnable(
        **_of_file(graph),
        runtime="emulated" if foreign else "onnxruntime",
        any_batch=any(spec.shape[:1] == (None,) for spec in graph.inputs),
        preprocessing=preprocessing_from(graph.options),
        random=tuple(sorted(_RANDOM & graph.operators.keys())),
        why_not=_missing("onnxruntime", "bench"),
        opener=(lambda threads, device: emulator(())) if foreign else opener,
        observer=emulator if foreign else observer,
        emulator=emulator if graph.precision in _NARROW else None,
        choices=lambda: decisions_in(graph.path),
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
    from edgerep.bench.sessions.coreml_session import MilReferenceSession, open_coreml
    from edgerep.bench.sessions.mil.choices import choices_of
    from edgerep.bench.sessions.mil.interpreter import load_program
    from edgerep.export.coreml.package import open_package

    package = open_package(path)
    seen_into = sys.platform != "darwin"

    def observer(also: Sequence[str]) -> Session:
        return MilReferenceSession(package, also=also)

    def choices() -> Sequence[GraphDecision]:
        return choices_of(load_program(package.path))

    return Runnable(
        **_of_file(package),
        runtime="mil-reference" if seen_into else "coreml",
        preprocessing=preprocessing_of(package.made_from),
        probabilities=package.softmax == "appended",
        opener=lambda threads, device: open_coreml(path),
        observer=observer if seen_into else None,
        choices=choices if seen_into else tuple,
    )


def _weights(path: Path) -> Runnable:
    from edgerep.checkpoints.loading import load
    from edgerep.networks.network import form_of

    record = read_record(path)
    if record is not None and any(entry.get("network") for entry in record.made_from):
        raise EdgerepError(
            f"{path} holds fused weights of an own network, and only that network, fused again, "
            f"can be given them: give its --model to `edgerep verify`, or compare what was "
            f"exported from it (.onnx, .engine, .mlpackage)"
        )
    model = load(path)
    return runnable_module(model, form=form_of(model), size=2 * model.stride + 1, path=path)


def _of_file(artefact: Artefact) -> Mapping[str, Any]:
    """The fields of a `Runnable` that every artefact has."""
    sources = artefact.made_from
    nearest = sources[0] if sources and artefact.kind != "onnx" else {}
    options = artefact.options if isinstance(artefact, Graph) else nearest.get("options") or {}
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
        "graph": nearest.get("sha256") if nearest.get("kind") == "onnx" else None,
        "noted": options,
    }


def _missing(package: str, extra: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install 'edgerep[{extra}]'"
    return None

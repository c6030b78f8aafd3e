"""What can be timed: every kind of network and artefact, reduced to one value."""

from __future__ import annotations

import copy
import functools
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.records import read_record
from edgerep.bench.memory.memory import (
    ArraySpec,
    Memory,
    module_memory,
    module_weights_bytes,
    onnx_memory,
)
from edgerep.bench.sessions.session import Session
from edgerep.errors import MissingDependencyError, MissingRuntimeError, OptionError

if TYPE_CHECKING:
    from torch import nn

    from edgerep.artefacts.tensors import TensorSpec
    from edgerep.bench.sessions.runnables import Artefact
    from edgerep.export.graph.onnx_file import Graph
    from edgerep.fusion.fused import Fused
    from edgerep.networks.interface import InputShapes

Given: TypeAlias = Any  # an nn.Module, a Fused, a Graph, a path, or a result that has a `path`


@dataclass(frozen=True, slots=True)
class Options:
    """What every subject is opened with.

    Attributes:
        size: Height and width of the images for networks that take one image.
        threads: CPU cores for one operation.
        device: Where torch modules run.
        input_shapes: Of networks that take something else, as for `edgerep.export_onnx`.
    """

    size: tuple[int, int]
    threads: int
    device: str
    input_shapes: InputShapes | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """One network in one form on one backend.

    Attributes:
        name: Of the file or network, for people.
        form: As in `edgerep.bench.timing.cases.Case`.
        backend: As there.
        precision: As there.
        network: SHA-256 of the checkpoint it came from; None where that is not known. Subjects
            of two known, different checkpoints are not compared.
        batches: The batch sizes it takes; None for any.
        inputs: The inputs for a batch size.
        open: Makes it ready to run; raises MissingRuntimeError where that is not possible here.
        memory: Measures a batch size, in a process of its own; an engine states its own.
    """

    name: str
    form: str
    backend: str
    precision: str
    network: str | None
    batches: BatchProfile | None
    inputs: Callable[[int], tuple[ArraySpec, ...]]
    open: Callable[[], Session]
    memory: Callable[[int], Memory]


def subject_of(given: Given, options: Options) -> Subject:
    """What `given` is, by its type or by the suffix of its path; nothing is opened yet.

    Raises:
        MissingRuntimeError: It is of a kind that cannot be timed on this machine.
        OptionError: It is of no kind that can be timed.
        EdgerepError: Its file is unreadable, or its record does not belong to it.
    """
    path = Path(given) if isinstance(given, str) else getattr(given, "path", given)
    if isinstance(path, Path) and (opener := _BY_SUFFIX.get(path.suffix.lower())):
        if not path.exists():
            raise OptionError(f"{path} does not exist")
        return opener(path, options)
    if isinstance(given, (str, Path)):
        from edgerep.checkpoints.loading import load

        given = load(given)
    return _of_object(given, options)


def _of_object(given: Given, options: Options) -> Subject:
    from torch import nn

    from edgerep.fusion.fused import Fused

    if isinstance(given, Fused):
        return _of_module(given.module, "fused", options, given)
    if isinstance(given, nn.Module):
        return _of_module(given, _module_form(given), options)
    raise OptionError(
        f"a {type(given).__name__} cannot be timed: give a torch module, what `edgerep.fuse` "
        f"returned, or a path ending in {', '.join(_BY_SUFFIX)}"
    )


def _module_form(module: nn.Module) -> str:
    """A network of edgerep's own without BatchNorms is fused; of others it is not known."""
    from torch.nn.modules.batchnorm import _BatchNorm

    from edgerep.networks.network import Network

    norms = any(isinstance(part, _BatchNorm) for part in module.modules())
    return "fused" if isinstance(module, Network) and not norms else "unfused"


def _of_module(
    module: nn.Module, form: str, options: Options, fused: Fused | None = None
) -> Subject:
    from edgerep.bench.sessions.torch_session import TorchSession, module_precision
    from edgerep.networks.interface import interface_of
    from edgerep.networks.network import origin_of

    precision = module_precision(module)
    dtype = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp64": "float64"}[precision]
    origin = fused.origin if fused else origin_of(module)
    interface = interface_of(
        module,
        size=options.size,
        shapes=options.input_shapes,
        known=fused.inputs if fused else (),
    )

    def inputs(batch: int) -> tuple[ArraySpec, ...]:
        return tuple(ArraySpec((batch, *spec.shape)) for spec in interface)

    def memory(batch: int) -> Memory:
        if options.device != "cpu":
            why = f"not measured: host memory says nothing about {options.device}"
            return Memory(module_weights_bytes(module), None, None, why)
        quiet = copy.deepcopy(module).eval() if module.training else module
        return module_memory(quiet, inputs(batch), threads=options.threads)

    return Subject(
        name=origin.source if origin else type(module).__name__,
        form=form,
        backend=TorchSession.runtime,
        precision=precision,
        network=origin.sha256 if origin else None,
        batches=None,
        inputs=inputs,
        open=lambda: TorchSession(
            module, device=options.device, threads=options.threads, dtype=dtype
        ),
        memory=memory,
    )


def _of_onnx(path: Path, options: Options) -> Subject:
    from edgerep.export.graph.onnx_file import open_graph

    graph = open_graph(path)

    def open_session() -> Session:
        try:
            from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
        except ModuleNotFoundError as error:
            raise MissingDependencyError("onnxruntime", "bench") from error
        return OnnxRuntimeSession(path, threads=options.threads)

    return Subject(
        name=path.name,
        form=graph.form,
        backend="onnxruntime",
        precision=graph.precision,
        network=_network(graph.made_from),
        batches=_static_batch(graph),
        inputs=lambda batch: _specs(graph.inputs, batch),
        open=open_session,
        memory=lambda batch: onnx_memory(
            path, _specs(graph.inputs, batch), threads=options.threads
        ),
    )


def _static_batch(graph: Graph) -> BatchProfile | None:
    """None where the graph's batch is dynamic: ONNX Runtime takes any size then."""
    return graph.batch if all(spec.shape[:1] != (None,) for spec in graph.inputs) else None


def _of_engine(path: Path, options: Options) -> Subject:
    def memory(artefact: Artefact) -> Memory:
        from edgerep.bench.memory.engine import memory_of_engine
        from edgerep.bench.sessions.tensorrt_session import TensorrtSession

        return memory_of_engine(lambda: TensorrtSession(artefact.path))

    return _of_artefact(path, memory)


def _of_package(path: Path, options: Options) -> Subject:
    if platform.system() != "Darwin":
        raise MissingRuntimeError(
            "Core ML runs on macOS only. The reference interpreter that checks packages elsewhere "
            "is not Apple's code: its time would say nothing"
        )
    why = "not measured: Core ML's daemons hold a package's memory"
    return _of_artefact(path, lambda artefact: Memory(None, None, None, why))


def _of_artefact(path: Path, memory: Callable[[Artefact], Memory]) -> Subject:
    try:
        from edgerep.bench.sessions.runnables import open_artefact

        artefact = open_artefact(path)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("edgerep"):
            raise  # our own mistake, not a missing runtime
        raise MissingRuntimeError(
            f"the Python package `{error.name}` is not installed: `edgerep doctor` says how to "
            f"get what {path.name} needs"
        ) from error
    if artefact.why_not is not None:
        raise MissingRuntimeError(artefact.why_not)
    record = read_record(path)
    # The same for every batch size: it is asked for once.
    stated = functools.cache(lambda: memory(artefact))
    return Subject(
        name=path.name,
        form=record.details.get("form", "unknown") if record else "unknown",
        backend=artefact.runtime,
        precision=artefact.precision,
        network=_network(record.made_from) if record else None,
        batches=artefact.batch,
        inputs=lambda batch: _specs(artefact.inputs, batch),
        open=artefact.open,
        memory=lambda batch: stated(),
    )


def _specs(inputs: Sequence[TensorSpec], batch: int) -> tuple[ArraySpec, ...]:
    return tuple(ArraySpec(spec.concrete(batch), spec.dtype) for spec in inputs)


def _network(made_from: Sequence[Any]) -> str | None:
    return made_from[-1].get("sha256") if made_from else None


_BY_SUFFIX: dict[str, Callable[[Path, Options], Subject]] = {
    ".onnx": _of_onnx,
    ".engine": _of_engine,
    ".plan": _of_engine,
    ".trt": _of_engine,
    ".mlpackage": _of_package,
}

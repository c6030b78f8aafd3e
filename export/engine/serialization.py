"""One build: an ONNX model and settings go in, a serialized engine comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.tensors import TensorSpec
from edgerep.errors import EngineError, MissingRuntimeError, OptionError
from edgerep.export.engine.progress import Watch, monitor_for, run_watched
from edgerep.export.engine.runtime import LogLine, heard, last_words, log_of
from edgerep.export.engine.settings import BuildSettings, EngineOptions
from edgerep.export.engine.timing_cache import read_timing_cache, write_timing_cache


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be built.

    Attributes:
        name: Of the graph's file, for messages.
        model: The ONNX model, serialized with its weights.
        inputs: The graph's inputs.
        batch: The range of a dynamic batch.
        settings: The flags by which the runtime honours `options`.
        options: What the user asked for; `build_settings` has checked them.
    """

    name: str
    model: bytes
    inputs: tuple[TensorSpec, ...]
    batch: BatchProfile
    settings: BuildSettings
    options: EngineOptions


def serialize_engine(
    trt: Any, job: Job, progress: Callable[[str], None] | None = None
) -> tuple[bytes, tuple[LogLine, ...]]:
    """Parse, configure and build; returns the engine's bytes and what the vendor logged.

    Args:
        trt: The module `tensorrt` or `tensorrt_rtx`.
        job: What to build.
        progress: Called in the calling thread with the current phase, at most five times a second;
            what it raises stops the build.

    Raises:
        EngineError: The parser or the builder refused; carries their own words.
        MissingRuntimeError: The builder cannot start here: no GPU, no driver.
        OptionError: The device has no such DLA core, the runtime does not build for a compute
            capability, or the timing cache is of another device or release.
        OutputError: The timing cache cannot be read or written.
    """
    with heard(trt) as lines:
        log = log_of(trt)
        try:
            builder = trt.Builder(log)
        except (TypeError, RuntimeError) as error:  # the bindings' word for a null pointer
            raise MissingRuntimeError(
                f"{trt.__name__} {trt.__version__} cannot start its builder:{last_words(lines)}"
            ) from error
        network = builder.create_network(_bits(trt, job.settings.network_flags))
        # The network borrows its weights from the parser, which must live until the build is done.
        parser = trt.OnnxParser(network, log)
        _parse(parser, job, lines)
        config = builder.create_builder_config()
        _apply_flags(trt, config, job.settings)
        _apply_options(trt, builder, config, job.options)
        _add_profile(builder, config, job, lines)
        cache = read_timing_cache(config, job.options.timing_cache)
        watch = Watch()
        monitor = monitor_for(trt, watch)
        if monitor is not None:
            config.progress_monitor = monitor
        blob = run_watched(
            lambda: builder.build_serialized_network(network, config), watch, progress
        )
        if blob is None:
            raise EngineError(
                f"{trt.__name__} {trt.__version__} did not build {job.name}:{last_words(lines)}"
            )
        if cache is not None and job.options.timing_cache is not None:
            write_timing_cache(config, job.options.timing_cache)
        return bytes(blob), tuple(lines)


def _bits(trt: Any, names: Sequence[str]) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(flags, name)) for name in names)


def _parse(parser: Any, job: Job, lines: Sequence[LogLine]) -> None:
    if parser.parse(job.model):
        return
    errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
    words = "".join(f"\n  {error}" for error in errors) or last_words(lines)
    raise EngineError(
        f"TensorRT's ONNX parser refuses {job.name}:{words}\n"
        f"Export it again with edgerep, or with operators that this release knows"
    )


def _apply_flags(trt: Any, config: Any, settings: BuildSettings) -> None:
    for name in settings.set_flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    for name in settings.clear_flags:
        config.clear_flag(getattr(trt.BuilderFlag, name))


def _apply_options(trt: Any, builder: Any, config: Any, options: EngineOptions) -> None:
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.dla is not None:
        if options.dla >= builder.num_DLA_cores:
            raise OptionError(
                f"DLA core {options.dla}: this device has {builder.num_DLA_cores} DLA cores"
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla
    if options.compute_capability:
        config.num_compute_capabilities = len(options.compute_capability)
        for index, name in enumerate(options.compute_capability):
            if not config.set_compute_capability(getattr(trt.ComputeCapability, name), index):
                raise OptionError(f"{trt.__name__} {trt.__version__} does not build for {name}")


def _add_profile(builder: Any, config: Any, job: Job, lines: Sequence[LogLine]) -> None:
    """Tell the builder the range of shapes, where the graph leaves the batch open."""
    if all(None not in spec.shape for spec in job.inputs):
        return
    batch = job.batch
    sizes = (batch.smallest, batch.optimum, batch.largest)
    profile = builder.create_optimization_profile()
    try:
        for spec in job.inputs:
            profile.set_shape(spec.name, *(spec.concrete(size) for size in sizes))
    except RuntimeError as error:
        raise EngineError(f"{job.name}: batch {batch} is refused: {error}") from error
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"{job.name}: batch {batch} is refused:{last_words(lines)}")

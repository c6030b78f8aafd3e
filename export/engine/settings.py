"""What a builder is told. Names alone decide it, so that every release's branch can be tested.

Precision is in the graph. TensorRT-RTX and TensorRT 11 read it from there and know no other way;
TensorRT 10 does when the network is strongly typed; TensorRT 8 must be allowed each type by a flag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgerep.errors import OptionError

OPTIMIZATION_LEVELS = range(6)  # of TensorRT's builder


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the user may ask of a build; None and empty leave it to the runtime.

    Attributes:
        workspace_bytes: Scratch memory that one layer may use.
        timing_cache: File of measured kernel times, read where it exists and written afterwards.
        hardware_compatible: Run on every GPU from Ampere on, not only on this kind.
        version_compatible: Run under later TensorRT releases too.
        compute_capability: GPUs that a TensorRT-RTX engine is for, as "SM86".
        dla: Number of the DLA core to use, with the GPU for what the DLA cannot do.
        optimization_level: 0 (build fast) to 5 (search long); TensorRT's own choice is 3.

    Raises:
        OptionError: A number is out of its range, or a compute capability is there twice.
    """

    workspace_bytes: int | None = None
    timing_cache: Path | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False
    compute_capability: tuple[str, ...] = ()
    dla: int | None = None
    optimization_level: int | None = None

    def __post_init__(self) -> None:
        if self.workspace_bytes is not None and self.workspace_bytes < 1:
            raise OptionError(f"workspace of {self.workspace_bytes} bytes: give a positive number")
        if self.dla is not None and self.dla < 0:
            raise OptionError(f"DLA core {self.dla}: cores are numbered from 0")
        level = self.optimization_level
        if level is not None and level not in OPTIMIZATION_LEVELS:
            raise OptionError(f"optimization level {level} is none of 0 to 5")
        if len(set(self.compute_capability)) != len(self.compute_capability):
            raise OptionError(f"a compute capability twice: {', '.join(self.compute_capability)}")


@dataclass(frozen=True, slots=True)
class Symbols:
    """The names of a vendor module that decide how it is used.

    Attributes:
        runtime: "tensorrt" or "tensorrt-rtx": RTX has names whose effect it does not have.
        network_flags: Members of NetworkDefinitionCreationFlag.
        builder_flags: Members of BuilderFlag.
        config: Attributes of IBuilderConfig.
        compute_capabilities: Members of ComputeCapability; empty where there is none.
    """

    runtime: str
    network_flags: frozenset[str]
    builder_flags: frozenset[str]
    config: frozenset[str]
    compute_capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Flags by name: to create the network with, to set and to clear in the builder's config."""

    network_flags: tuple[str, ...]
    set_flags: tuple[str, ...]
    clear_flags: tuple[str, ...]


def symbols_of(trt: Any, runtime: str) -> Symbols:
    """The names that a loaded vendor module has.

    Args:
        trt: The module `tensorrt` or `tensorrt_rtx`.
        runtime: "tensorrt" or "tensorrt-rtx".
    """
    capabilities = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    return Symbols(
        runtime=runtime,
        network_flags=frozenset(trt.NetworkDefinitionCreationFlag.__members__),
        builder_flags=frozenset(trt.BuilderFlag.__members__),
        config=frozenset(dir(trt.IBuilderConfig)),
        compute_capabilities=frozenset(capabilities) - {"NONE"},
    )


def build_settings(
    symbols: Symbols, options: EngineOptions, *, half: bool, quantized: bool, bfloat: bool = False
) -> BuildSettings:
    """The flags that make a release of TensorRT compute what the graph says.

    Args:
        symbols: The names that the release has.
        options: What the user asked for.
        half: The graph has float16 tensors.
        quantized: The graph has Q/DQ operators.
        bfloat: The graph has bfloat16 tensors.

    Raises:
        OptionError: The release cannot honour an option; all such options at once.
    """
    _require_honoured(symbols, options, half, quantized, bfloat)
    network_flags: tuple[str, ...] = ()
    flags: list[str] = []
    if "EXPLICIT_BATCH" in symbols.network_flags:  # TensorRT 8 to 10
        # The DLA of TensorRT 10 and before takes its precision from flags only.
        if "STRONGLY_TYPED" in symbols.network_flags and options.dla is None:
            network_flags = ("STRONGLY_TYPED",)
        else:
            network_flags = ("EXPLICIT_BATCH",)
            flags += ["FP16"] * half + ["INT8"] * quantized
            # Without it a layer is computed in whatever allowed type is fastest.
            flags += ["OBEY_PRECISION_CONSTRAINTS"] * (half and options.dla is None)
    if options.dla is not None:
        flags.append("GPU_FALLBACK")
    if options.version_compatible:
        flags.append("VERSION_COMPATIBLE")
    # TF32 rounds the inputs of float32 products to 10 bits and is on by default.
    return BuildSettings(network_flags, tuple(flags), ("TF32",))


def capability_names(names: Sequence[str]) -> tuple[str, ...]:
    """Compute capabilities as the vendor names them: 8.6, 86, sm86 and SM_86 all become "SM86".

    "current" becomes "CURRENT". Nothing is checked here.
    """
    return tuple(_capability_name(name) for name in names)


def _capability_name(name: str) -> str:
    plain = name.strip().upper().removeprefix("SM").removeprefix("_").replace(".", "")
    return f"SM{plain}" if plain.isdecimal() else plain


def _require_honoured(
    symbols: Symbols, options: EngineOptions, half: bool, quantized: bool, bfloat: bool
) -> None:
    rtx = symbols.runtime == "tensorrt-rtx"
    refused = []

    def need(asked: bool, there: bool, what: str, why_not_on_rtx: str) -> None:
        if asked and (rtx or not there):
            refused.append(f"{what}: {why_not_on_rtx if rtx else 'needs TensorRT 8.6 or later'}")

    need(
        options.timing_cache is not None, True, "a timing cache",
        "TensorRT-RTX has none; its runtime cache is for running",
    )  # fmt: skip
    need(
        options.hardware_compatible, "hardware_compatibility_level" in symbols.config,
        "hardware compatibility", "give compute capabilities instead",
    )  # fmt: skip
    need(
        options.version_compatible, "VERSION_COMPATIBLE" in symbols.builder_flags,
        "version compatibility", "its engines are for one release",
    )  # fmt: skip
    need(
        options.optimization_level is not None, "builder_optimization_level" in symbols.config,
        "an optimization level", "it builds the same engine at every level",
    )  # fmt: skip
    if options.compute_capability and not symbols.compute_capabilities:
        refused.append("compute capabilities: TensorRT builds for the GPU it runs on")
    elif unknown := set(options.compute_capability) - symbols.compute_capabilities:
        refused.append(
            f"{', '.join(sorted(unknown))}: it knows "
            f"{', '.join(sorted(symbols.compute_capabilities, key=_by_number))}"
        )
    flagged = "EXPLICIT_BATCH" in symbols.network_flags  # TensorRT 8 to 10
    if bfloat and flagged and "STRONGLY_TYPED" not in symbols.network_flags:
        refused.append("bfloat16 in the graph: needs TensorRT 9 or later; fp16 is for this one")
    if options.dla is not None and bfloat:
        refused.append("a DLA core for a bfloat16 graph: export it as fp16 or int8")
    elif options.dla is not None:
        if rtx:
            refused.append("a DLA core: no device that it runs on has one")
        elif not (half or quantized):
            refused.append("a DLA core for a float32 graph: export it as fp16 or int8")
    if refused:
        lines = "".join(f"\n  {line}" for line in refused)
        raise OptionError(f"{'TensorRT-RTX' if rtx else 'this TensorRT'} cannot honour:{lines}")


def _by_number(name: str) -> tuple[int, str]:
    digits = name.removeprefix("SM")
    return (int(digits) if digits.isdecimal() else 0, name)

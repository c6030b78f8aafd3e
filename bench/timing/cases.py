"""What the bench found, as values, and as the JSON of `edgerep bench --json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgerep.artefacts.kinds import SCHEMA
from edgerep.bench.memory.memory import Memory
from edgerep.bench.timing.intervals import is_noisy, p99, quantile
from edgerep.bench.timing.rounds import Samples

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Case:
    """One network in one form, run one way at one batch size.

    Attributes:
        key: Names the case in a `Ratio`: "fused/onnxruntime/fp32/b1"; `name` is in it too where two
            subjects would share a key.
        name: Of the file or network.
        form: "unfused" (as trained), "unfused-folded" (the exporter folded its BatchNorms into
            its convolutions), "fused", or "unknown".
        backend: The session's runtime: "torch", "onnxruntime", "tensorrt", "tensorrt-rtx",
            "coreml".
        precision: "fp32", "fp16", "bf16", "int8", "fp64".
        batch: Images in one inference.
        samples: Wall-clock durations of single inferences.
        how: What ran the inferences, in one sentence.
        memory: None where it was not asked for.
    """

    key: str
    name: str
    form: str
    backend: str
    precision: str
    batch: int
    samples: Samples
    how: str
    memory: Memory | None = None

    @property
    def samples_ms(self) -> tuple[float, ...]:
        return tuple(sample / NS_PER_MS for sample in self.samples.flat_ns)

    @property
    def p50_ms(self) -> float:
        return quantile(self.samples_ms, 0.5)

    @property
    def p90_ms(self) -> float:
        return quantile(self.samples_ms, 0.9)

    @property
    def p99_ms(self) -> float | None:
        """The 0.99-quantile in milliseconds; None under 662 samples, too few to bound it."""
        return p99(self.samples_ms)

    @property
    def throughput_per_s(self) -> float:
        """Images per second of one inference after another, at the median latency."""
        return self.batch / (self.p50_ms / 1e3)

    @property
    def is_noisy(self) -> bool:
        return is_noisy(self.samples_ms)

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "name": self.name,
            "form": self.form,
            "backend": self.backend,
            "precision": self.precision,
            "batch": self.batch,
            "p50_ms": self.p50_ms,
            "p90_ms": self.p90_ms,
            "p99_ms": self.p99_ms,
            "throughput_per_s": self.throughput_per_s,
            "how": self.how,
            "memory": None if self.memory is None else asdict(self.memory),
            "samples_per_round": len(self.samples.rounds_ns[0]),
            "samples_ms": list(self.samples_ms),
            "warmup_ms": [sample / NS_PER_MS for sample in self.samples.warmup_ns],
        }


@dataclass(frozen=True, slots=True)
class Ratio:
    """A speed-up: the median latency of `over` divided by that of `of`.

    Attributes:
        of: Key of the case that may be faster.
        over: Key of the case it is compared with.
        ratio: Above 1, `of` is that many times faster.
        ci95: Lower and upper end of the 95 % interval of `ratio`, by a bootstrap over rounds.
        verdict: "faster", "slower", or "no difference" where the interval includes 1.
    """

    of: str
    over: str
    ratio: float
    ci95: tuple[float, float]
    verdict: str


@dataclass(frozen=True, slots=True)
class NotRun:
    """A subject, or one batch size of it, that could not be timed here."""

    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Everything one run of the bench has to say.

    Attributes:
        environment: The machine and its software, with the keys of
            `edgerep.bench.machine.environment.environment`, and `load_average_after` and
            `temperatures_c_after`.
        settings: What was asked for, defaults included.
        cases: What was timed.
        ratios: Speed-ups of fused over unfused, and of smaller precisions over float32, for the
            same backend and batch size.
        not_run: What was asked for and not timed.
        warnings: What should make a reader doubt the numbers.
    """

    environment: Mapping[str, Any]
    settings: Mapping[str, Any]
    cases: tuple[Case, ...]
    ratios: tuple[Ratio, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields of `edgerep bench --json`; `samples_ms` is in order of measurement.

        The round of sample i of a case is i // `samples_per_round`.
        """
        return {
            "schema": SCHEMA,
            "environment": dict(self.environment),
            "settings": dict(self.settings),
            "cases": [case.to_json() for case in self.cases],
            "ratios": [{**asdict(ratio), "ci95": list(ratio.ci95)} for ratio in self.ratios],
            "not_run": [asdict(one) for one in self.not_run],
            "warnings": list(self.warnings),
        }
